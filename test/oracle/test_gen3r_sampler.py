# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Gen3R's time grids, and Euler with guidance along one (fixture gen3r f)."""

import pytest
import torch
from oracle import given

from gld_ros.diffusion.flow import guided, shifted_training_grid, twice_shifted_grid
from gld_ros.diffusion.sampler import integrate

BOUND, GRID_BOUND = 2e-6, 1e-7
FIXTURE = "gen3r_sampler"


@pytest.mark.parametrize("shift", [1, 2, 5])
def test_grids(fixture, compare, shift):
    times = shifted_training_grid(shift)[::37]
    compare(fixture, f"train_sigmas_shift{shift}_every37", times, GRID_BOUND)
    compare(fixture, f"train_timesteps_shift{shift}_every37", 1000 * times, GRID_BOUND)
    for steps in (50, 12):
        times = twice_shifted_grid(shift, steps)
        compare(fixture, f"sigmas_shift{shift}_steps{steps}", times, GRID_BOUND)
        compare(fixture, f"timesteps_shift{shift}_steps{steps}", 1000 * times[:-1], GRID_BOUND)


def test_trajectory(fixture, compare):
    """A linear field of state, time and a condition; the state after each step."""
    config = fixture.meta["config"]
    A, b = given("A", (16, 16), config["seed"]) / 4, given("b", (16, 1, 1, 1), config["seed"])
    x, reference = (given(name, (1, 16, 2, 4, 8), config["seed"]) for name in ("x", "ref"))
    states = []

    def conditional(x, t):
        states.append(x)
        return torch.einsum("ij,bjfhw->bifhw", A, x) + b * t + 0.1 * reference

    def unconditional(x, t):
        return torch.einsum("ji,bjfhw->bifhw", A, x) + b * t

    field = guided(conditional, unconditional, config["guidance"])
    states.append(integrate(field, x, twice_shifted_grid(config["traj_shift"], config["traj_steps"])))
    compare(fixture, "traj_states", torch.cat(states[1:]), BOUND)
