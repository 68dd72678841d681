# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Solvers against diffusers' schedulers on the same times, and against a flow whose solution is known."""

import math

import pytest
import torch

from gld_ros.diffusion import sampler
from gld_ros.diffusion.flow import time_grid
from gld_ros.diffusion.sampler import SOLVERS, integrate, log_snr
from gld_ros.errors import InvalidRequest
from gld_ros.networks.configs import FlowConfig

NOISE = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(2, 1, 3, 2, 2)


def bent(x, t):
    """A field without a solution that is known."""
    t = t[:, None, None, None, None].double()
    return torch.sin(2 * x) + t * x - 0.3 * t**2


def times(steps: int, shift: float = 3.0, t_end: float = 0.001, start: float = 1.0) -> torch.Tensor:
    return start * time_grid(FlowConfig(shift=shift, t_end=t_end), steps).double()


@pytest.mark.parametrize("steps", [3, 12])
@pytest.mark.parametrize("name", SOLVERS)
def test_agrees_with_diffusers(monkeypatch, name, steps):
    """As published: extrapolating however long the step."""
    monkeypatch.setattr(sampler, "LONGEST", math.inf)
    schedulers = pytest.importorskip("diffusers")
    grid = times(steps, start=0.999)
    options = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "final_sigmas_type": "sigma_min"}
    scheduler = {
        "euler": lambda: schedulers.FlowMatchEulerDiscreteScheduler(),
        "dpmpp2m": lambda: schedulers.DPMSolverMultistepScheduler(lower_order_final=False, **options),
    }[name]()
    scheduler.set_timesteps(steps)
    scheduler.sigmas, scheduler.timesteps = grid.clone(), 1000 * grid[:-1]
    scheduler.set_begin_index(0)
    x = NOISE
    for sigma, time in zip(grid[:-1], scheduler.timesteps, strict=True):
        x = scheduler.step(bent(x, sigma.expand(2)), time, x).prev_sample.double()
    ours = integrate(bent, NOISE, grid, name)
    assert torch.allclose(ours, x, atol=1e-5)


MEAN, SPREAD = 0.7, 0.3  # of the data, which are Gaussian


def gaussian(x, t):
    """E[noise - data | x_t] for Gaussian data: the velocity of the flow itself."""
    t = t[:, None, None, None, None].double()
    variance = ((1 - t) * SPREAD) ** 2 + t**2
    return (t - (1 - t) * SPREAD**2) / variance * (x - (1 - t) * MEAN) - MEAN


def solution(t):
    """Where the flow carries noise to: quantiles stay quantiles."""
    return (1 - t) * MEAN + math.hypot((1 - t) * SPREAD, t) * NOISE


def error(name: str, grid: torch.Tensor) -> float:
    start, end = grid[0].item(), grid[-1].item()
    return float((integrate(gaussian, solution(start), grid, name) - solution(end)).abs().max())


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("dpmpp2m", 2)])
def test_order_of_convergence(name, order):
    """From a time at which lambda is finite, evenly in lambda: half the step, 2^order less error."""
    errors = [error(name, torch.sigmoid(-torch.linspace(-4, 4, n + 1, dtype=torch.float64))) for n in (40, 80, 160)]
    measured = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert min(measured) > order - 0.2, (errors, measured)


@pytest.mark.parametrize("t_end", [0.001, 0.0])
def test_from_noise_alone_and_to_the_data(t_end):
    """The whole grid of sampling, where lambda is infinite and steps grow: nearer to the solution than Euler's."""
    for steps in (4, 12):
        assert error("dpmpp2m", times(steps, t_end=t_end)) < error("euler", times(steps, t_end=t_end))


@pytest.mark.parametrize("steps", [6, 14])
def test_on_the_grid_of_the_released_models(monkeypatch, steps):
    """Data as large as the shift, with little between noise and data: the presets' steps beat Euler's."""
    monkeypatch.setattr("test_solvers.SPREAD", 10.0)
    grid = times(steps, shift=31.177)
    assert 3 * error("dpmpp2m", grid) < error("euler", grid)


def test_one_step_takes_the_first_prediction():
    """Both solvers are the same then."""
    assert torch.allclose(*(integrate(gaussian, NOISE, times(1), name) for name in SOLVERS))
    assert [log_snr(t) for t in (0.0, 0.5, 1.0)] == [math.inf, 0, -math.inf]


def test_each_scene_along_its_own_times():
    """The same as one scene after the other."""
    grid = torch.stack([times(4), times(4, shift=1.0)], dim=1)
    alone = [integrate(bent, noise[None], own) for noise, own in zip(NOISE, grid.T, strict=True)]
    assert torch.equal(integrate(bent, NOISE, grid), torch.cat(alone))
    halves = [integrate(gaussian, NOISE, own, on_step=lambda i: i == 2) for own in grid.T]
    both = integrate(gaussian, NOISE, grid, on_step=lambda i: i == 2)
    assert torch.equal(both, torch.stack([half[k] for k, half in enumerate(halves)]))


@pytest.mark.parametrize("name", SOLVERS)
def test_every_step_is_reported(name):
    steps = []
    integrate(gaussian, NOISE, times(4), name, steps.append)
    assert steps == [1, 2, 3, 4]
    with pytest.raises(InvalidRequest, match="solver is 'rk45', expected one of euler, dpmpp2m"):
        integrate(gaussian, NOISE, times(4), "rk45")
