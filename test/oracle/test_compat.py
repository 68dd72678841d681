# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Each quirk of the released code that has a field of its own is needed: without it the official numbers are missed."""

from dataclasses import replace

import pytest
import torch
from dit_cases import load, toy
from oracle import GOLDEN, Golden

from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.networks.encoder import position_table
from gld_ros.networks.released import DA3_BASE, GLD_DA3, GLD_VGGT, VGGT_1B


def error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return float((ours - reference).abs().max() / reference.abs().max())


@pytest.mark.parametrize(
    ("file", "stage", "field", "without", "output"),
    [
        ("gld_dit_level1", GLD_DA3.level1, "uninverted_intrinsics", False, "out"),
        ("gld_dit_level1", GLD_DA3.level1, "identity_null_intrinsics", False, "out_uncond"),
        ("gld_dit_cascade", GLD_DA3.level0, "uninverted_intrinsics", False, "out"),
        ("gld_dit_cascade", GLD_DA3.level0, "fixed_image_size", 0, "out"),
        ("gld_dit_cascade", GLD_DA3.level0, "identity_null_intrinsics", True, "out_uncond"),
        ("gld_dit_vggt_cascade", GLD_VGGT.level0, "fixed_image_size", 504, "out"),
        ("gld_dit_vggt_cascade", GLD_VGGT.level0, "identity_null_intrinsics", False, "out_uncond"),
    ],
)
def test_quirks_of_a_stage(file, stage, field, without, output):
    fixture = Golden(GOLDEN / f"{file}.npz")
    errors = []
    for released in (stage, replace(stage, compat=replace(stage.compat, **{field: without}))):
        dit = toy(fixture, released)
        case = load(fixture, "B", dit)
        out = case(dit, case.uncond if output == "out_uncond" else case.cameras)
        errors.append(error(out, fixture[f"B.{output}"]))
    assert errors[0] < 3e-4
    assert errors[1] > 1e-2


@pytest.mark.parametrize(("field", "without"), [("pixel_offset", (0.5, 0.5)), ("world_frame_poses", False)])
def test_quirks_of_the_cameras(field, without):
    fixture = Golden(GOLDEN / "gld_dit_vggt_level1.npz")
    dit = toy(fixture, GLD_VGGT.level1)
    case = load(fixture, "B", dit)
    spec = fixture.meta["cases"]["B"]
    errors = []
    for compat in (GLD_VGGT.compat, replace(GLD_VGGT.compat, **{field: without})):
        K, c2w = fixture["B.K"], fixture["B.c2w"]
        size, grid = (spec["H"], spec["W"]), (spec["gh"], spec["gw"])
        cameras = RequestCameras(K, c2w, spec["cond"], size, grid, compat).condition(dit)
        errors.append(error(case(dit, cameras), fixture["B.out"]))
    assert errors[0] < 1e-4
    assert errors[1] > 2e-3


def test_quirks_of_the_position_tables():
    table = torch.randn(1, 1 + 37 * 37, 8)
    exact = position_table(table, (8, 6))
    for config in (DA3_BASE, VGGT_1B):
        quirky = position_table(table, (8, 6), config.position_offset, config.position_antialias)
        assert error(quirky, exact) > 1e-2
