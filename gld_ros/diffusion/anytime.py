# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling that may end early: every evaluation of the velocity points at data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from gld_ros.diffusion.flow import Velocity

#: Called after step i = 1, 2, ...; True ends the sampling.
OnStep = Callable[[int], bool | None]


class Solver(Protocol):
    """As in diffusion/solvers.py."""

    def __call__(
        self, velocity: Velocity, noise: Tensor, times: Tensor, on_step: Callable[[int], None] | None = None, /
    ) -> Tensor: ...


class _Enough(Exception):
    pass


def anytime(solver: Solver, velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    """The solver's answer, from noise (B, V, C, h, w) along `times` (N,) or (N, B).

    As soon as `on_step` says so, before the last step, it is the data x - t v that the last evaluation predicted:
    nothing more is evaluated.
    """
    last: list[Tensor] = []

    def remembered(x: Tensor, t: Tensor) -> Tensor:
        v = velocity(x, t)
        last[:] = x, t, v
        return v

    def step(i: int) -> None:
        if on_step(i) and i < len(times) - 1:
            raise _Enough

    try:
        return solver(remembered, noise, times, step)
    except _Enough:
        x, t, v = last
        return x - t.reshape(-1, *[1] * (x.ndim - 1)).to(x) * v
