# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The four diffusion transformers against the official code, at toy size (fixtures c, d, e)."""

import pytest
import torch
from dit_cases import load, toy
from oracle import watched

from gld_ros.diffusion.conditioning import normalized_poses
from gld_ros.diffusion.flow import guided
from gld_ros.networks.prope import camera_tables
from gld_ros.networks.released import GLD_DA3, GLD_VGGT

#: fixture, stage of the released model whose quirks apply, bound, bound of intermediate states
STAGES = [
    ("gld_dit_level1", GLD_DA3.level1, 3e-4, 5e-5),
    ("gld_dit_cascade", GLD_DA3.level0, 1e-4, 1e-4),
    ("gld_dit_vggt_level1", GLD_VGGT.level1, 1e-4, 1e-4),
    ("gld_dit_vggt_cascade", GLD_VGGT.level0, 1e-4, 1e-4),
]


@pytest.mark.parametrize("name", ["A", "B"])
@pytest.mark.parametrize(("file", "released", "bound", "inner"), STAGES, ids=[s[0] for s in STAGES])
def test_velocity_and_guidance(golden, compare, file, released, bound, inner, name):
    fixture = golden(file)
    dit = toy(fixture, released)
    case = load(fixture, name, dit)

    def velocity(cameras):
        return lambda x, t: dit(x, case.condition, t, cameras.camera_map, cameras.tables, cameras.sources, case.level1)

    V = case.noisy.shape[1]
    compare(fixture, f"{name}.t_emb", dit.t_embedder(case.t).repeat_interleave(V, dim=0), inner)
    both = velocity(case.cameras), velocity(case.uncond)
    compare(fixture, f"{name}.out", both[0](case.noisy, case.t).flatten(0, 1), bound)
    compare(fixture, f"{name}.out_uncond", both[1](case.noisy, case.t).flatten(0, 1), bound)
    compare(fixture, f"{name}.out_cfg", guided(*both, 1.5)(case.noisy, case.t).flatten(0, 1), bound)
    assert torch.equal(guided(*both, 1.0)(case.noisy, case.t), both[0](case.noisy, case.t))
    # What the unconditional branch is told: no rays, the mask, and the same poses everywhere.
    told = case.uncond.camera_map.abs().amax(dim=(0, 1, 3, 4))
    compare(fixture, f"{name}.uncond_camera_absmax_per_channel", told, 0)
    spec = fixture.meta["cases"][name]
    for tables, head_dim in zip(case.uncond.tables, dit.head_dims, strict=True):
        sizes = (spec["H"], spec["W"]), (spec["gh"], spec["gw"]), head_dim, released.compat
        theirs = camera_tables(fixture[f"{name}.uncond_Ks"], fixture[f"{name}.uncond_viewmats"], *sizes)
        assert torch.equal(tables.project, theirs.project)
        assert torch.equal(tables.unproject, theirs.unproject)


@pytest.mark.parametrize("name", ["A", "B"])
@pytest.mark.parametrize(("file", "released", "bound", "inner"), STAGES, ids=[s[0] for s in STAGES])
def test_poses(golden, compare, file, released, bound, inner, name):
    fixture = golden(file)
    c2w = fixture[f"{name}.c2w"]
    relative, w2c = normalized_poses(c2w, world_frame=True)
    compare(fixture, f"{name}.viewmats", w2c, bound)
    scale = w2c[:, :, :3, 3].norm(dim=(1, 2)) / torch.linalg.inv(c2w)[:, :, :3, 3].norm(dim=(1, 2))
    compare(fixture, f"{name}.scale", scale[:, None, None], bound)


@pytest.mark.parametrize(("file", "released", "bound", "inner"), STAGES, ids=[s[0] for s in STAGES])
def test_inner_states(golden, compare, file, released, bound, inner):
    fixture = golden(file)
    dit = toy(fixture, released)
    case = load(fixture, "A", dit)
    depth = dit.config.depth
    modules = {f"enc_block{i}": block for i, block in enumerate(dit.blocks[:depth])}
    modules |= {f"dec_block{i}": block for i, block in enumerate(dit.blocks[depth:])}
    with watched({"cam_tokens": dit.camera_embedder, "dec_cond": dit.s_projector, **modules}) as calls:
        case(dit)
    kept = {name: call.result for name, (call,) in calls.items()}
    kept |= {f"{stack}_in": calls[f"{stack}_block0"][0].args[0] for stack in ("enc", "dec")}
    V = case.noisy.shape[1]
    compare(fixture, "A.cam_tokens", kept.pop("cam_tokens")[0][:, ::2], inner)
    stride = 1 if dit.config.special_tokens else 2
    for name, state in kept.items():
        compare(fixture, f"A.{name}", state[0].unflatten(0, (V, -1))[:, ::stride], inner)
