# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The stage of posed depth: what it draws, and its loss on a sensor's depth with holes."""

import torch
from builders.stages import Clips

from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.posed_depth import SourceDepth
from gld_ros.training.depth_stage import DepthStage, jolted, recoloured
from gld_ros.training.losses import measured_loss


def test_unknown_depth_counts_for_nothing():
    torch.manual_seed(0)
    depth, raw = torch.rand(1, 2, 6, 8) + 1, torch.randn(1, 2, 6, 8, requires_grad=True)
    holes = depth.clone()
    holes[..., 2:4] = torch.nan
    losses = measured_loss(SourceDepth(raw.exp(), torch.full_like(depth, 0.1)), holes)
    sum(losses.values()).backward()
    assert torch.isfinite(raw.grad).all() and (raw.grad[..., 2:4] == 0).all() and (raw.grad[..., 5:] != 0).any()
    right = SourceDepth(depth, torch.full_like(depth, 0.1))
    assert measured_loss(right, holes)["match"] < 1e-6
    wrong = SourceDepth(torch.where(holes.isnan(), 99.0, depth), right.spread)
    assert measured_loss(wrong, holes) == measured_loss(right, holes)
    nothing = measured_loss(right, torch.full_like(depth, torch.nan))
    assert all(value == 0 for value in nothing.values())


def test_the_gradients_of_depth_are_part_of_the_loss():
    depth = torch.ones(1, 1, 4, 8)
    spread = torch.full_like(depth, 0.1)
    shifted = measured_loss(SourceDepth(depth * 1.2, spread), depth)["match"]
    torn = depth * torch.tensor([1.2, 1 / 1.2]).repeat(4)
    assert measured_loss(SourceDepth(torn, spread), depth)["match"] > shifted + 0.1


def test_the_stage_trains_posed_depth_and_nothing_else():
    torch.manual_seed(0)
    net = GLDNetworks(ModelConfig())
    stage = DepthStage(net, 0.5, ((32, 24),))
    counts = set()
    for seed in range(6):
        torch.manual_seed(seed)
        images, K, c2w, depth = stage.draw(Clips()(seed))
        counts.add(K.shape[1])
        assert images.shape[-2:] == (48, 64) and depth.shape[-2:] == (24, 32) and c2w.shape == (*K.shape[:2], 4, 4)
    assert counts == {2, 3, 4}
    losses = stage.loss(Clips()(0))
    sum(value for name, value in losses.items() if not name.startswith("_")).backward()
    learnt = {name.split(".")[0] for name, p in stage.matching.named_parameters() if p.grad is not None}
    assert {"planes", "first", "fine", "stem"} <= learnt
    assert all(p.grad is None for p in net.encoder.parameters())
    assert not any(name.startswith("encoder.") for name in stage.kept())


def test_jolted_poses_stay_rigid_and_close():
    torch.manual_seed(0)
    c2w = torch.eye(4).repeat(40, 3, 1, 1)
    c2w[..., 0, 3] = 2
    moved = jolted(c2w, degrees=0.5)
    R = moved[..., :3, :3]
    torch.testing.assert_close(R @ R.mT, torch.eye(3).expand_as(R), atol=1e-5, rtol=0)
    assert torch.equal(moved[..., 3], c2w[..., 3])
    angle = torch.rad2deg((R - torch.eye(3)).norm(dim=(-2, -1)) / 2**0.5)
    assert 0.1 < angle.mean() < 0.6 and angle.max() < 2.5


def test_recoloured_views_of_a_scene_stay_alike():
    torch.manual_seed(0)
    images = Clips(8)(0).images
    changed = recoloured(images, 0.5)
    assert changed.shape == images.shape and changed.min() >= 0 and changed.max() <= 1
    kept = (changed == images).flatten(1).all(dim=1)
    assert 0 < kept.sum() < 8
    twice = recoloured(images[:, :1].expand(-1, 2, -1, -1, -1))
    assert torch.equal(twice[:, 0], twice[:, 1])
