# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The diffusion transformers at the size of the fixtures c, d and e, and the cases of these."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from oracle import Golden, given, recipe

from gld_ros.diffusion.conditioning import Cameras, RequestCameras
from gld_ros.networks.configs import DiTConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.released import GLD_DA3


@dataclass
class Case:
    """One scene or two of a fixture: inputs as our network takes them."""

    noisy: torch.Tensor
    condition: torch.Tensor
    t: torch.Tensor
    cameras: Cameras
    uncond: Cameras
    level1: torch.Tensor | None

    def __call__(self, dit: MultiViewDiT, cameras: Cameras | None = None) -> torch.Tensor:
        """The network's output (B V, C, h, w), by default with the case's own cameras."""
        told = cameras or self.cameras
        out = dit(self.noisy, self.condition, self.t, told.camera_map, told.tables, told.sources, self.level1)
        return out.flatten(0, 1)


def toy(fixture: Golden, released: DiTConfig) -> MultiViewDiT:
    """The network at the fixture's size, with the released stage's structure and quirks."""
    meta = fixture.meta["model"]
    (width, head_width), (depth, head_depth), (heads, head_heads) = (
        meta["hidden_size"], meta["depth"], meta["num_heads"],
    )  # fmt: skip
    C = meta["in_channels"]
    config = DiTConfig(
        width, depth, heads, head_width, head_depth, head_heads, released.camera_channels, released.split_embedders,
        C if released.level1_channels else 0, released.special_tokens, "velocity", meta["mlp_ratio"], released.compat,
    )  # fmt: skip
    return recipe(MultiViewDiT(C, 14, config), salt=fixture.meta["salt"])


def load(fixture: Golden, name: str, dit: MultiViewDiT) -> Case:
    spec = fixture.meta["cases"][name]
    B, V, S = spec["B"], spec["V"], spec["cond"]
    size, grid = (spec["H"], spec["W"]), (spec["gh"], spec["gw"])
    x = fixture[f"{name}.x"].unflatten(0, (B, V))
    condition, noisy = x.chunk(2, dim=2)
    K, c2w = fixture[f"{name}.K"], fixture[f"{name}.c2w"]
    shared = RequestCameras(K, c2w, S, size, grid, GLD_DA3.compat)
    cameras, uncond = shared.condition(dit), shared.condition(dit, drop=True)
    if name == "A":  # its rays are noise
        cameras.camera_map[:, :, 1:] = given("A.camera_embedding", (B * V, 7, *size), fixture.meta["seed"])[
            :, 1:
        ].unflatten(0, (B, V))
    level1 = fixture[f"{name}.source_condition"].unflatten(0, (B, V)) if f"{name}.source_condition" in fixture else None
    return Case(noisy, condition, fixture[f"{name}.t"].unflatten(0, (B, V))[:, 0], cameras, uncond, level1)
