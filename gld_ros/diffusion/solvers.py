# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Solvers of the flow's ODE, dx/dt = velocity(x, t), on x_t = (1 - t) data + t noise, along a grid of times.

The multistep ones follow the data, x - t velocity, in lambda = log((1 - t) / t), where the linear part has an exact
solution. A grid may begin at noise alone (t = 1) and end at the data (t = 0), where lambda is infinite. Coefficients
are made on the host: a step costs the device its evaluations and a few sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from gld_ros.diffusion.flow import Velocity, euler
from gld_ros.errors import InvalidRequest

OnStep = Callable[[int], None]
#: Steps this many times as long as the one before, or longer, extrapolate no farther than one of this length. Shifted
#: grids end in steps four times as long, where the published solvers overshoot and are worse than Euler's.
LONGEST = 1.0
#: Data (B, ...) predicted at a lambda.
Prediction = tuple[Tensor, float]


class Solver(Protocol):
    """From noise (B, ...) along `times` (N,), on the host; `on_step(i)` is called after step i = 1, 2, ..."""

    def __call__(
        self, velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep | None = None, /
    ) -> Tensor: ...


def heun(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Trapezoids: two evaluations a step, one in a step to the data, where some networks have no velocity."""
    x = noise
    for i, (t, following) in enumerate(zip(times[:-1], times[1:], strict=True)):
        slope = velocity(x, t.expand(len(x)))
        if following > 0:
            slope = (slope + velocity(x + (following - t) * slope, following.expand(len(x)))) / 2
        x = x + (following - t) * slope
        if on_step is not None:
            on_step(i + 1)
    return x


def dpmpp2m(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep | None = None) -> Tensor:
    """DPM-Solver++(2M), arXiv 2211.01095: the data are extrapolated from the last two evaluations."""
    return _multistep(velocity, noise, times, on_step, correct=False)


def unipc(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep | None = None) -> Tensor:
    """UniPC of order 2, arXiv 2302.04867: an evaluation also corrects the step that led to it."""
    return _multistep(velocity, noise, times, on_step, correct=True)


SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun, "dpmpp2m": dpmpp2m, "unipc": unipc}


def solver(name: str) -> Solver:
    """Raises InvalidRequest for one that there is not."""
    if name not in SOLVERS:
        raise InvalidRequest(f"solver is '{name}', expected one of {', '.join(SOLVERS)}")
    return SOLVERS[name]


def _multistep(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep | None, correct: bool) -> Tensor:
    x = start = noise
    past: list[Prediction] = []
    for i, (t, following) in enumerate(zip(times.tolist()[:-1], times.tolist()[1:], strict=True)):
        data = x - t * velocity(x, times[i].expand(len(x)))
        if correct and past:
            x = _toward(_corrected(data, past, log_snr(t)), start, times[i - 1].item(), t)
        past = [*past[-1:], (data, log_snr(t))]
        start, x = x, _toward(_extrapolated(past, log_snr(following)), x, t, following)
        if on_step is not None:
            on_step(i + 1)
    return x


def log_snr(t: float) -> float:
    """lambda = log((1 - t) / t)."""
    if t <= 0 or t >= 1:
        return math.inf if t <= 0 else -math.inf
    return math.log((1 - t) / t)


def _toward(data: Tensor, x: Tensor, t: float, following: float) -> Tensor:
    """x_t with its noise scaled to the following time, and the data that belong to it."""
    shrink = following / t
    return shrink * x + (1 - following - shrink * (1 - t)) * data


def _extrapolated(past: list[Prediction], end: float) -> Tensor:
    """The data in the middle of the step to `end`, on the line through the last two predictions.

    The last alone where it has none before it, or one an infinite step away, and in the step to the data.
    """
    data, here = past[-1]
    older, before = past[0]
    if len(past) < 2 or math.isinf(end) or math.isinf(before):
        return data
    return data + min((end - here) / (here - before), LONGEST) / 2 * (data - older)


def _corrected(data: Tensor, past: list[Prediction], end: float) -> Tensor:
    """What the step to `end` should have followed, now that the data there are known (B(h) = e^h - 1)."""
    now, here = past[-1]
    if len(past) < 2:
        return (now + data) / 2
    (older, before), length = past[0], end - here
    ratio, shrink = (before - here) / length, math.expm1(-length)
    first = -shrink / length - 1
    second = -first / length - 0.5
    outer = (first - 2 * second) / shrink / (1 - ratio)
    inner = first / shrink - outer
    return now + outer / ratio * (older - now) + inner * (data - now)
