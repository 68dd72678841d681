# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Clocks of a request: the whole, and its stages as the progress callback tells them; the peak speed of the device."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from gld_ros.errors import InvalidRequest
from gld_ros.views import Progress

#: Sides of the square matrices that are multiplied to find the peak, and seconds of multiplying each.
SIDES = {"cuda": (2048, 4096, 8192, 16384), "cpu": (512, 1024, 2048)}
SECONDS = 0.5


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """median, p95 and the number of repeats."""
    return {
        "median_s": float(np.median(seconds)),
        "p95_s": float(np.percentile(seconds, 95)),
        "repeat": len(seconds),
    }


def check_repeat(repeat: int) -> None:
    """Raise InvalidRequest for no repeat."""
    if repeat < 1:
        raise InvalidRequest(f"{repeat} repeats, expected at least 1")


@dataclass
class StageTimes:
    """A request's callback that adds up the time of each stage.

    A GPU is waited for at the end of each stage and after the first step of each sampled stage, and nowhere else.
    seconds: by stage; steps: of each sampled stage; step_seconds: of one step after the first, which pays for what is
    made once a stage.
    """

    device: torch.device
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    steps: dict[str, int] = field(default_factory=dict)
    step_seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    rounds: int = 0

    def start(self) -> None:
        """The request begins."""
        synchronize(self.device)
        self._began = self._last = self._first = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        stage, level = progress.stage, progress.stage not in ("encode", "decode")
        if level and 1 < progress.step < progress.steps:
            return
        synchronize(self.device)
        now = time.perf_counter()
        if level and progress.step == 1:
            self._first = now
        if level and progress.step < progress.steps:
            return
        if level:
            self.steps[stage] = progress.steps
            alone = progress.steps == 1
            self.step_seconds[stage].append(now - self._last if alone else (now - self._first) / (progress.steps - 1))
        self.seconds[stage] += now - self._last
        self.rounds += stage == "decode"
        self._last = now

    def finish(self) -> float:
        """The request is over; what no stage had is "other". Returns the seconds of all."""
        synchronize(self.device)
        now = time.perf_counter()
        self.seconds["other"] = now - self._last
        return now - self._began


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of several square matrix products, as measured now."""
    best = 0.0
    for side in SIDES[device.type]:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        a @ b
        synchronize(device)
        # In batches that grow, so that a GPU is not waited for after each.
        count, began = 1, time.perf_counter()
        while (now := time.perf_counter()) - began < SECONDS:
            for _ in range(count):
                a @ b
            synchronize(device)
            best = max(best, 2 * side**3 * count / (time.perf_counter() - now))
            count *= 2
    return best
