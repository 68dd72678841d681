# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a diffusion stage's network says, and how it becomes a velocity (`DiTConfig.prediction`)."""

from __future__ import annotations

from torch import Tensor

from gld_ros.diffusion.flow import target_velocity, velocity_of

#: The released models: noise - data.
VELOCITY = "velocity"
#: The data themselves; learns faster in short trainings.
DATA = "data"
#: The data, from no noise at all, in one step: a regression, the baseline of generation.
NOISELESS = "regression"
KINDS = (VELOCITY, DATA, NOISELESS)


def training_target(kind: str, data: Tensor, noise: Tensor) -> Tensor:
    """What the network's output is compared with."""
    _known(kind)
    return target_velocity(data, noise) if kind == VELOCITY else data


def as_velocity(kind: str, out: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
    """The velocity at x_t that an output stands for."""
    _known(kind)
    return out if kind == VELOCITY else velocity_of(noisy, out, t)


def output_for(kind: str, velocity: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
    """The output that stands for a velocity at x_t; the inverse of `as_velocity`."""
    _known(kind)
    return velocity if kind == VELOCITY else noisy - t[:, None, None, None, None] * velocity


def _known(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"prediction is '{kind}', expected one of {', '.join(KINDS)}")
