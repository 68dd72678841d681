# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Solvers against diffusers' schedulers on the same times, and against a flow whose solution is known."""

import math

import pytest
import torch

from gld_ros.diffusion import solvers
from gld_ros.diffusion.flow import time_grid
from gld_ros.diffusion.solvers import SOLVERS, log_snr, solver
from gld_ros.errors import InvalidRequest
from gld_ros.models.configs import FlowConfig

NOISE = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(2, 1, 3, 2, 2)


def bent(x, t):
    """A field without a solution that is known."""
    t = t[:, None, None, None, None].double()
    return torch.sin(2 * x) + t * x - 0.3 * t**2


def times(steps: int, shift: float = 3.0, t_end: float = 0.001, start: float = 1.0) -> torch.Tensor:
    return start * time_grid(FlowConfig(shift=shift, t_end=t_end), steps).double()


@pytest.mark.parametrize("steps", [3, 12])
@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp2m", "unipc"])
def test_agrees_with_diffusers(monkeypatch, name, steps):
    """As published: extrapolating however long the step."""
    monkeypatch.setattr(solvers, "LONGEST", math.inf)
    schedulers = pytest.importorskip("diffusers")
    grid = times(steps, start=0.999)
    options = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "final_sigmas_type": "sigma_min"}
    scheduler = {
        "euler": lambda: schedulers.FlowMatchEulerDiscreteScheduler(),
        "heun": lambda: schedulers.FlowMatchHeunDiscreteScheduler(),
        "dpmpp2m": lambda: schedulers.DPMSolverMultistepScheduler(lower_order_final=False, **options),
        "unipc": lambda: schedulers.UniPCMultistepScheduler(lower_order_final=False, **options),
    }[name]()
    scheduler.set_timesteps(steps)
    sigmas = grid.clone()
    if name == "heun":  # every time twice, the first once; its last step is taken as ours where t is 0
        sigmas = torch.cat([grid[:1], grid[1:-1].repeat_interleave(2), grid[-1:], grid[-1:]])
    scheduler.sigmas, scheduler.timesteps = sigmas, 1000 * sigmas[:-1]
    scheduler.set_begin_index(0)
    x = NOISE
    for sigma, time in zip(sigmas[:-1], scheduler.timesteps, strict=True):
        x = scheduler.step(bent(x, sigma.expand(2)), time, x).prev_sample.double()
    ours = SOLVERS[name](bent, NOISE, grid)
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
    return float((SOLVERS[name](gaussian, solution(start), grid) - solution(end)).abs().max())


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp2m", 2), ("unipc", 2)])
def test_order_of_convergence(name, order):
    """From a time at which lambda is finite, evenly in lambda: half the step, 2^order less error."""
    errors = [error(name, torch.sigmoid(-torch.linspace(-4, 4, n + 1, dtype=torch.float64))) for n in (40, 80, 160)]
    measured = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert min(measured) > order - 0.2, (errors, measured)


@pytest.mark.parametrize("name", ["heun", "dpmpp2m", "unipc"])
@pytest.mark.parametrize("t_end", [0.001, 0.0])
def test_from_noise_alone_and_to_the_data(name, t_end):
    """The whole grid of sampling, where lambda is infinite and steps grow: nearer to the solution than Euler's."""
    for steps in (4, 12):
        assert error(name, times(steps, t_end=t_end)) < error("euler", times(steps, t_end=t_end))


@pytest.mark.parametrize("steps", [6, 14])
@pytest.mark.parametrize("name", ["dpmpp2m", "unipc"])
def test_on_the_grid_of_the_released_models(monkeypatch, name, steps):
    """Data as large as the shift, with little between noise and data: the presets' steps beat Euler's."""
    monkeypatch.setattr("test_solvers.SPREAD", 10.0)
    grid = times(steps, shift=31.177)
    assert 3 * error(name, grid) < error("euler", grid)


def test_one_step_takes_the_first_prediction():
    """Euler and the multistep solvers are the same then."""
    ends = [SOLVERS[name](gaussian, NOISE, times(1)) for name in ("euler", "dpmpp2m", "unipc")]
    assert torch.allclose(ends[0], ends[1]) and torch.equal(ends[1], ends[2])
    assert [log_snr(t) for t in (0.0, 0.5, 1.0)] == [math.inf, 0, -math.inf]


@pytest.mark.parametrize("name", list(SOLVERS))
def test_every_step_is_told(name):
    steps = []
    solver(name)(gaussian, NOISE, times(4), steps.append)
    assert steps == [1, 2, 3, 4]
    with pytest.raises(InvalidRequest, match="solver is 'rk45', expected one of euler, heun, dpmpp2m, unipc"):
        solver("rk45")
