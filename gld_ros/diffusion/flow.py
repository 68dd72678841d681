# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Flow matching: x_t = (1 - t) data + t noise, velocity = noise - data, t = 1 is noise (spec gld.md).

The path and its time grid, guidance, and how a network's output becomes a velocity (`DiTConfig.prediction`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gld_ros.networks.configs import FlowConfig

#: (noisy (B, V, C, h, w), t (B,)) -> velocity (B, V, C, h, w)
Velocity = Callable[[Tensor, Tensor], Tensor]

#: The network predicts noise - data (released models).
VELOCITY = "velocity"
#: The network predicts the data; learns faster in short trainings.
DATA = "data"
#: The network predicts the data from no noise at all, in one step: a regression, the baseline of generation.
NOISELESS = "regression"
PREDICTIONS = (VELOCITY, DATA, NOISELESS)


def shift_time(t: Tensor, shift: float) -> Tensor:
    """s t / (1 + (s - 1) t): more steps near the noise for s > 1."""
    return shift * t / (1 + (shift - 1) * t)


def shift_of(config: FlowConfig, views: int | None = None) -> float:
    """The shift s for a request of `views` views, which must be given where the config has a `shift_dim`."""
    if not config.shift_dim:
        return config.shift
    if not views:
        raise ValueError(f"the shift depends on the number of views (shift_dim={config.shift_dim}), not given")
    return max(1.0, math.sqrt(config.shift_dim * views / 4096))


def time_grid(config: FlowConfig, steps: int, views: int | None = None) -> Tensor:
    """steps + 1 times from 1 down, shifted; the last is the shifted `t_end`."""
    linear = torch.linspace(1, config.t_end, steps + 1, dtype=torch.float64)
    return shift_time(linear, shift_of(config, views)).float()


def twice_shifted_grid(shift: float, steps: int, last: float = 0.001) -> Tensor:
    """steps times from 1 down, and 0: as diffusers' FlowMatchEulerDiscreteScheduler makes them for Gen3R.

    The linear grid ends at the shifted last time of the training grid, and is then shifted like that one.
    """
    end = shift_time(torch.tensor(last, dtype=torch.float64), shift).item()
    linear = torch.linspace(1, end, steps, dtype=torch.float64)
    return torch.cat([shift_time(linear, shift), linear.new_zeros(1)]).float()


def shifted_training_grid(shift: float, times: int = 1000) -> Tensor:
    """The times that Gen3R is trained at, from 1 down: so many even ones, shifted; in float32 as there."""
    return shift_time(torch.linspace(1, 1 / times, times, dtype=torch.float64).float(), shift)


def training_times(config: FlowConfig, uniform: Tensor, views: int | None = None) -> Tensor:
    """Times to train at, one a scene, from numbers drawn uniformly in [0, 1): up to 1 - t_end, shifted."""
    return shift_time((1 - config.t_end) * uniform, shift_of(config, views))


def target_velocity(data: Tensor, noise: Tensor) -> Tensor:
    """The velocity of the straight path, which the model learns to predict."""
    return noise - data


def interpolate(data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t for data, noise (B, V, C, h, w) and t (B,)."""
    t = t[:, None, None, None, None]
    return (1 - t) * data + t * noise


def velocity_of(noisy: Tensor, data: Tensor, t: Tensor) -> Tensor:
    """The velocity that leads from x_t to a prediction of the data."""
    return (noisy - data) / t[:, None, None, None, None].clamp_min(1e-6)


def guided(conditional: Velocity, unconditional: Velocity, scale: float) -> Velocity:
    """Classifier-free guidance: v_u + scale (v_c - v_u); the conditional branch alone up to scale 1."""
    if scale <= 1:
        return conditional

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        base = unconditional(x, t)
        return base + scale * (conditional(x, t) - base)

    return velocity


def guidance_times(config: FlowConfig, interval: tuple[float, float], views: int) -> tuple[float, float]:
    """A guidance interval of the linear grid, on the shifted one."""
    low, high = (shift_time(torch.tensor(t), shift_of(config, views)).item() for t in interval)
    # Both ends belong to it, whatever the grid's rounding.
    return low - 1e-6, high + 1e-6


def training_target(prediction: str, data: Tensor, noise: Tensor) -> Tensor:
    """The target that the network's output is compared with."""
    _check(prediction)
    return target_velocity(data, noise) if prediction == VELOCITY else data


def as_velocity(prediction: str, out: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
    """The velocity at x_t that a network's output stands for."""
    _check(prediction)
    return out if prediction == VELOCITY else velocity_of(noisy, out, t)


def output_for(prediction: str, velocity: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
    """The output that stands for a velocity at x_t; the inverse of `as_velocity`."""
    _check(prediction)
    return velocity if prediction == VELOCITY else noisy - t[:, None, None, None, None] * velocity


def _check(prediction: str) -> None:
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction is '{prediction}', expected one of {', '.join(PREDICTIONS)}")
