# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Time grids, Euler with guidance, the training path and loss against the official transport code (fixture g)."""

import pytest
import torch
from dit_cases import toy
from oracle import given

from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.diffusion.flow import (
    guided,
    interpolate,
    shift_of,
    target_velocity,
    time_grid,
    training_times,
)
from gld_ros.diffusion.sampler import integrate
from gld_ros.networks.configs import FlowConfig
from gld_ros.networks.released import GLD_DA3, GLD_VGGT

BOUND, GRID_BOUND = 2e-5, 3e-6
FIXTURE = "sampler"


def released(C: int, h: int, w: int) -> FlowConfig:
    """As the released models: the shift follows from the latent's size and the views, the grid ends at 0.001."""
    return FlowConfig(shift_dim=C * h * w, t_end=0.001)


@pytest.mark.parametrize("index", range(7))
def test_grid(fixture, compare, index):
    grid = fixture.meta["grids"][index]
    config, views = released(grid["C"], grid["h"], grid["w"]), grid["views"]
    assert shift_of(config, views) == pytest.approx(grid["shift"], rel=1e-12)
    compare(fixture, f"grid{index}_t", time_grid(config, grid["num_steps"] - 1, views), GRID_BOUND)


@pytest.mark.parametrize(("config", "index"), [(GLD_DA3, 0), (GLD_VGGT, 5)], ids=["da3", "vggt"])
def test_released_models_use_the_grid_of_the_evaluation(golden, compare, config, index):
    times = time_grid(config.flow, config.flow.steps, views=8)
    compare(golden("sampler"), f"grid{index}_t", times, GRID_BOUND)


@pytest.mark.parametrize(("name", "scale"), [("traj", None), ("traj_cfg15", 1.5), ("traj_cfg10", 1.0)])
def test_trajectory(fixture, compare, name, scale):
    """A linear field of the state, the time and a condition; every state of every step."""
    case = fixture.meta["traj"]
    states = []

    def conditional(x, t):
        states.append(x)
        mixed = torch.einsum("ij,bvjhw->bvihw", fixture["A"], x)
        time = t[:, None, None, None, None] * fixture["b"][:, None, None]
        return mixed + time + 0.1 * fixture["ref_cond"][None]

    def unconditional(x, t):
        return torch.einsum("ij,bvjhw->bvihw", fixture["A_uncond"], x)

    field = conditional if scale is None else guided(conditional, unconditional, scale)
    times = time_grid(FlowConfig(shift=case["shift"], t_end=0.001), case["num_steps"] - 1)
    states.append(integrate(field, fixture["x0"][None], times))
    compare(fixture, name, torch.cat(states), BOUND)


def test_training_path(fixture, compare):
    """Eight scenes of one view each."""
    config = FlowConfig(shift=fixture.meta["train_shift"], t_end=0.001)
    t = training_times(config, fixture["train_u"])
    compare(fixture, "train_t", t, GRID_BOUND)
    data, noise = fixture["train_x1"][:, None], fixture["train_noise"][:, None]
    compare(fixture, "train_xt", interpolate(data, noise, t)[:, 0], BOUND)
    compare(fixture, "train_ut", target_velocity(data, noise)[:, 0], BOUND)


def test_training_loss(fixture, golden, compare):
    """Two scenes of the level-1 model: one time a scene, that of its first target; squared errors of all views."""
    case, seed = fixture.meta["loss"], fixture.meta["seed"]
    B, V, S, grid = case["B"], case["views"], case["cond"], (case["gh"], case["gw"])
    dit = toy(golden("gld_dit_level1"), GLD_DA3.level1)
    data, condition, noise = (
        given(f"loss.{name}", (B * V, 32, *grid), seed).unflatten(0, (B, V)) for name in ("x1_global", "cond", "noise")
    )
    condition[:, S:] = 0
    uniform = fixture["loss.u"].unflatten(0, (B, V))[:, S]
    t = training_times(FlowConfig(shift=case["train_shift"], t_end=0.001), uniform)
    size = grid[0] * 14, grid[1] * 14
    cameras = RequestCameras(fixture["loss.K"], fixture["loss.c2w"], S, size, grid, GLD_DA3.compat).condition(dit)
    out = dit(interpolate(data, noise, t), condition, t, cameras.camera_map, cameras.tables, S)
    errors = (out - target_velocity(data, noise)).pow(2).mean(dim=(2, 3, 4))
    compare(fixture, "loss.pred", out.flatten(0, 1), 3e-4)  # the bound of the level-1 model
    compare(fixture, "loss.loss", errors.flatten(), BOUND)
    compare(fixture, "loss.ref_loss", errors[:, :S].flatten(), BOUND)
    compare(fixture, "loss.tgt_loss", errors[:, S:].flatten(), BOUND)
