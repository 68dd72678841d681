# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The flow path, its time grid, the sampler, guidance."""

import pytest
import torch

from gld_ros.diffusion.flow import (
    guided,
    interpolate,
    shift_of,
    shift_time,
    target_velocity,
    time_grid,
    training_times,
    velocity_of,
)
from gld_ros.diffusion.sampler import integrate
from gld_ros.networks.configs import FlowConfig


def test_grid_goes_from_noise_to_the_shifted_end():
    times = time_grid(FlowConfig(shift=31.177, t_end=0.001), 49)
    assert len(times) == 50 and times[0] == 1
    assert float(times[-1]) == pytest.approx(0.0303, abs=1e-4)  # spec gld.md
    assert (times.diff() < 0).all()


def test_shift_leaves_the_ends_and_one_is_no_shift():
    t = torch.linspace(0, 1, 11)
    assert torch.allclose(shift_time(t, 1.0), t)
    assert shift_time(t, 5.0)[[0, -1]].tolist() == [0, 1] and (shift_time(t, 5.0)[1:-1] > t[1:-1]).all()


@pytest.mark.parametrize("steps", [1, 4])
def test_euler_reaches_the_data_on_the_straight_path(steps):
    data, noise = torch.randn(2, 1, 3, 4, 2, 2).unbind(0)
    seen = []
    result = integrate(lambda x, t: velocity_of(x, data, t), noise, time_grid(FlowConfig(), steps), on_step=seen.append)
    assert torch.allclose(result, data, atol=1e-5) and seen == list(range(1, steps + 1))


def test_guidance_extrapolates_and_scale_one_is_the_conditional():
    conditional, unconditional = (lambda x, t: x + 1), (lambda x, t: x)
    assert guided(conditional, unconditional, 1.0) is conditional
    assert guided(conditional, unconditional, 1.5)(torch.zeros(1), torch.ones(1)) == 1.5


def test_shift_grows_with_the_views_and_is_at_least_one():
    config = FlowConfig(shift=99.0, shift_dim=1536 * 18 * 18)
    assert shift_of(config, 8) == pytest.approx(31.177, abs=1e-3)
    assert shift_of(config, 2) == pytest.approx(shift_of(config, 8) / 2)
    assert shift_of(FlowConfig(shift_dim=64), 2) == 1
    assert shift_of(FlowConfig(shift=5.0)) == shift_of(FlowConfig(shift=5.0), 8) == 5
    with pytest.raises(ValueError, match="views"):
        time_grid(config, 4)


def test_training_times_cover_the_sampler_range():
    config = FlowConfig(shift=5.0, t_end=0.001)
    t = training_times(config, torch.tensor([0.0, 0.5, 1.0]))
    assert t[0] == 0 and float(t[2]) == pytest.approx(5 * 0.999 / (1 + 4 * 0.999))


def test_the_velocity_is_the_slope_of_the_path():
    data, noise, t = torch.randn(2, 1, 2, 2, 2), torch.randn(2, 1, 2, 2, 2), torch.tensor([0.3, 0.9])
    slope = (interpolate(data, noise, t) - interpolate(data, noise, t - 0.1)) / 0.1
    for velocity in (target_velocity(data, noise), velocity_of(interpolate(data, noise, t), data, t)):
        assert torch.allclose(slope, velocity, atol=1e-5)
