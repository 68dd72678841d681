# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling of a diffusion stage: its settings, and the loop that solves dx/dt = velocity(x, t) from noise to data.

Every velocity points at data, x - t velocity, on the path x_t = (1 - t) data + t noise. Euler's method goes along the
velocity. DPM-Solver++(2M), arXiv 2211.01095, follows these data in lambda = log((1 - t) / t), where the linear part has
an exact solution. A grid may begin at noise alone (t = 1) and end at the data (t = 0), where lambda is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from gld_ros.diffusion.flow import Velocity
from gld_ros.errors import InvalidRequest

SOLVERS = ("euler", "dpmpp2m")
#: Steps this many times as long as the one before, or longer, extrapolate no farther than one of this length. Shifted
#: grids end in steps four times as long, where the published solver overshoots and is worse than Euler's.
LONGEST = 1.0
#: Called in step i = 1, 2, ..., as soon as its velocity is evaluated; True ends the sampling.
OnStep = Callable[[int], bool | None]
#: Data (B, ...) predicted at a lambda.
Prediction = tuple[Tensor, float]


@dataclass(frozen=True)
class Sampling:
    """How one stage of one request is sampled. solver: one of SOLVERS. guidance_scale: 1 = conditional branch alone.

    guidance_interval: times, as they were before the grid's shift, between which guidance is applied (arXiv
    2404.07724); outside it the conditional branch alone.
    """

    steps: int
    guidance_scale: float = 1.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    solver: str = "euler"

    @property
    def guided(self) -> bool:
        """True where guidance needs the unconditional branch."""
        return self.guidance_scale > 1


def integrate(
    velocity: Velocity, noise: Tensor, times: Tensor, solver: str = "euler", on_step: OnStep = lambda step: None
) -> Tensor:
    """The data (B, ...) from noise (B, ...) along `times` (N,), with one evaluation of the velocity in each step.

    Euler's method also takes times on the noise's device, and a grid (N, B) of each scene's own. As soon as `on_step`
    says so, before the last step, the result is the data that the last velocity points at. An exception in `on_step`
    ends the sampling, too. Raises InvalidRequest for a solver that there is not.
    """
    if solver not in SOLVERS:
        raise InvalidRequest(f"solver is '{solver}', expected one of {', '.join(SOLVERS)}")
    x, last = noise, len(times) - 1
    past: list[Prediction] = []
    for i, (t, following) in enumerate(zip(times[:-1], times[1:], strict=True), start=1):
        v = velocity(x, t.expand(len(x)))
        if on_step(i) and i < last:
            return x - _of_scenes(t, x) * v
        if solver == "euler":
            x = x + _of_scenes(following - t, x) * v
        else:
            x, past = _dpmpp2m_step(x, v, t.item(), following.item(), past)
    return x


def _of_scenes(t: Tensor, x: Tensor) -> Tensor:
    """One number () as it is; one a scene (B,) in the dimensions of x (B, ...)."""
    return t.reshape(-1, *[1] * (x.ndim - 1)) if t.ndim else t


def _dpmpp2m_step(
    x: Tensor, v: Tensor, t: float, following: float, past: list[Prediction]
) -> tuple[Tensor, list[Prediction]]:
    """x at the following time, and the last two predictions. Coefficients are made on the host."""
    past = [*past[-1:], (x - t * v, log_snr(t))]
    data, shrink = _extrapolated(past, log_snr(following)), following / t
    return shrink * x + (1 - following - shrink * (1 - t)) * data, past


def log_snr(t: float) -> float:
    """lambda = log((1 - t) / t)."""
    if t <= 0 or t >= 1:
        return math.inf if t <= 0 else -math.inf
    return math.log((1 - t) / t)


def _extrapolated(past: list[Prediction], end: float) -> Tensor:
    """The data in the middle of the step to `end`, on the line through the last two predictions.

    The last alone where it has none before it, or one an infinite step away, and in the step to the data.
    """
    data, here = past[-1]
    older, before = past[0]
    if len(past) < 2 or math.isinf(end) or math.isinf(before):
        return data
    return data + min((end - here) / (here - before), LONGEST) / 2 * (data - older)
