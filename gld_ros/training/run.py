"""What every training run shares: optimizer, schedule, EMA, checkpoints, log, interruption."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

Module = TypeVar("Module", bound=nn.Module)


class TrainingRun(Generic[Module]):
    """Trains `module` with `loss(batch) -> {name: Tensor}`; resumes from `folder` where a checkpoint lies there.

    Saves every `save_every` steps and on SIGTERM / SIGINT, by atomic rename. `folder/log.jsonl` has a line a step.
    """

    def __init__(
        self, folder: Path, module: Module, steps: int, learning_rate: float, ema: float = 0.998, save_every: int = 50
    ):
        self.folder, self.module, self.steps = folder, module, steps
        self.learning_rate, self.decay, self.save_every = learning_rate, ema, save_every
        folder.mkdir(parents=True, exist_ok=True)
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
        self.average: Module = copy.deepcopy(module).eval()
        self.step = 0
        self.stop_requested = False
        if self.checkpoint.exists():
            self._load()

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def fit(self, batches: Iterator[Any], loss: Callable[[Any], dict[str, Tensor]]) -> None:
        """Train up to `steps`; returns early, saved, when interrupted."""
        previous = {s: signal.signal(s, self._request_stop) for s in (signal.SIGTERM, signal.SIGINT)}
        bar = tqdm(total=self.steps, initial=self.step, desc=self.folder.name, mininterval=5)
        try:
            while self.step < self.steps and not self.stop_requested:
                started = time.monotonic()
                self._update(loss(next(batches)), started)
                bar.update()
                if self.step % self.save_every == 0 or self.step == self.steps:
                    self.save()
            if self.stop_requested:
                self.save()
                tqdm.write(f"interrupted at step {self.step}, saved in {self.folder}; the same command resumes")
        finally:
            bar.close()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def save(self) -> None:
        state = {
            "step": self.step,
            "module": self.module.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.step = state["step"]
        self.module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])

    def _update(self, losses: dict[str, Tensor], started: float) -> None:
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"step {self.step}: loss is not finite: { {k: float(v.detach()) for k, v in losses.items()} }"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * learning_rate_factor(self.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.module.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        line = {"step": self.step, "seconds": round(time.monotonic() - started, 3)}
        line |= {k: round(float(v.detach()), 5) for k, v in losses.items()}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def _request_stop(self, *_: Any) -> None:
        self.stop_requested = True


def learning_rate_factor(step: int, steps: int, warmup: int = 100) -> float:
    """Linear warm-up, then a cosine down to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min((step - warmup) / max(steps - warmup, 1), 1)))
