# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training processes for the tests to launch and kill: `python training_process.py run|gradients FOLDER [...]`.

run: a tiny level-1 stage. accumulation=N; in micro step N: die=N: kill -9; term=N: SIGTERM; wait=N: SIGTERM while the
data do not come.
gradients: of several runs, as `cases` describes them, into FOLDER/NAME.pt.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from gld_ros.training.checkpoint import full
from gld_ros.training.data import Numbered
from gld_ros.training.engine import Engine
from gld_ros.training.optimizer import trained

sys.path.insert(0, str(Path(__file__).parents[1]))
from builders.stages import CONFIG, Clips, Numbers, Toy, flow_stage  # noqa: E402 (it lies on the path added above)

#: Two processes cannot share one GPU.
AUTO = "cpu" if torch.accelerator.is_available() else "auto"


class Recording(Engine):
    """Keeps the gradients that the optimiser gets."""

    def _clip(self) -> float:
        norm = super()._clip()
        self.gradients.append({name: full(p.grad) for name, p in trained(self.stage)})
        return norm


def shard(engine: Engine) -> None:
    """Give the engine what accelerate gives it on GPUs for FSDP 2, which it does not offer on a CPU."""
    mesh = init_device_mesh("cpu", (engine.accelerator.num_processes,))

    def prepare(stage, optimizer):
        for block in stage.dit.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(stage, mesh=mesh)
        parameters = [p for _, p in trained(stage)]
        assert all(isinstance(p, DTensor) for p in parameters)
        given = {k: optimizer.defaults[k] for k in ("lr", "betas", "weight_decay")}
        optimizer = torch.optim.AdamW(parameters, **given)
        return stage, engine.accelerator.prepare_optimizer(optimizer)

    engine.accelerator.prepare = prepare


def gradients(folder: Path, name: str, scenes: int, accumulation: int, steps: int = 3) -> list[dict]:
    """Steps of the real level-1 stage, random draws and all, or of a toy that draws nothing."""
    stage, make = (Toy(chance=0.0), Numbers(scenes)) if "toy" in name else (flow_stage(), Clips(scenes))
    config = replace(CONFIG, steps=steps, accumulation=accumulation, save_every=2, sample_every=2, device=AUTO)
    engine = Recording(stage, config, folder / name)
    if name == "sharded" and engine.accelerator.num_processes > 1:
        shard(engine)
    engine.gradients = []
    engine.fit(Numbered(make))
    if engine.is_main:
        torch.save(engine.gradients, folder / f"{name}.pt")
    engine.accelerator.wait_for_everyone()
    return engine.gradients


def run(folder: Path, die: int = -2, term: int = -2, wait: int = -2, accumulation: int = 1) -> int:
    def batch(number: int):
        if number == wait:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
            time.sleep(1000)
        return Clips()(number)

    class Struck(Engine):
        def _seed(self, micro: int) -> None:
            super()._seed(micro)
            for fatal, kind in ((die, signal.SIGKILL), (term, signal.SIGTERM)):
                if micro == fatal:
                    os.kill(os.getpid(), kind)

    engine = Struck(flow_stage(), replace(CONFIG, accumulation=accumulation), folder)
    engine.fit(Numbered(batch))
    return 0


def main(task: str, folder: str, *settings: str) -> int:
    torch.set_num_threads(1)
    if task == "run":
        return run(Path(folder), **{key: int(value) for key, value in (s.split("=") for s in settings)})
    for case in settings:
        name, *numbers = case.split(":")
        gradients(Path(folder), name, *map(int, numbers))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
