"""Training processes for the tests to launch and kill: `python process.py run|gradients FOLDER [name=value ...]`.

run: a tiny level-1 stage. die=N: kill -9 itself while it loads micro step N; term=N: SIGTERM there; accumulation=N.
gradients: of several runs, as `cases` describes them, into FOLDER/NAME.pt.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).parent))

from tiny import CONFIG, Clips, Numbers, Toy, flow_stage  # noqa: E402

from gld_ros.training.average import trained  # noqa: E402
from gld_ros.training.checkpoint import full  # noqa: E402
from gld_ros.training.data import Numbered  # noqa: E402
from gld_ros.training.engine import Engine  # noqa: E402


class Recording(Engine):
    """Keeps the gradients that the optimiser gets."""

    def _clip(self) -> float:
        norm = super()._clip()
        self.gradients.append({name: full(p.grad) for name, p in trained(self.stage)})
        return norm


def gradients(folder: Path, name: str, scenes: int, accumulation: int) -> list[dict]:
    """Three steps of the real level-1 stage, random draws and all, or of a toy that draws nothing."""
    stage, make = (flow_stage(), Clips(scenes)) if name == "flow" else (Toy(chance=0.0), Numbers(scenes))
    config = replace(CONFIG, steps=3, accumulation=accumulation, save_every=2)
    engine = Recording(stage, config, folder / name)
    engine.gradients = []
    engine.fit(Numbered(make))
    if engine.is_main:
        torch.save(engine.gradients, folder / f"{name}.pt")
    engine.accelerator.wait_for_everyone()
    return engine.gradients


def run(folder: Path, die: int = -1, term: int = -1, accumulation: int = 1) -> int:
    def batch(number: int):
        for fatal, kind in ((die, signal.SIGKILL), (term, signal.SIGTERM)):
            if number == fatal:
                os.kill(os.getpid(), kind)
        return Clips()(number)

    engine = Engine(flow_stage(), replace(CONFIG, accumulation=accumulation), folder)
    engine.fit(Numbered(batch))
    return 0


def main(task: str, folder: str, *settings: str) -> int:
    if task == "run":
        return run(Path(folder), **{key: int(value) for key, value in (s.split("=") for s in settings)})
    for case in settings:
        name, scenes, accumulation = case.split(":")
        gradients(Path(folder), name, int(scenes), int(accumulation))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
