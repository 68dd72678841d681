# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Windows of posed views: cameras, depth and poses have to follow the pixels."""

import pytest
import torch

from gld_ros.data.augment import reframed
from gld_ros.data.room_views import render_scenes
from gld_ros.geometry.warp import forward_warp


@pytest.fixture(scope="module")
def rooms():
    return render_scenes([3, 4, 5, 6], 96, 72)


@pytest.mark.parametrize("size", [(64, 48), (48, 48), (72, 40)])
def test_views_still_show_each_other(rooms, size):
    """View 0 carried into view 2 by the new depth, cameras and poses looks like view 2, mirrored or not."""
    torch.manual_seed(1)
    W, H = size
    images, K, c2w, depth = reframed(rooms.images, rooms.K, rooms.c2w, rooms.depth, size)
    assert images.shape == (4, 4, 3, H, W) and depth.shape == (4, 4, H, W)
    assert torch.allclose(torch.linalg.det(c2w[..., :3, :3]), torch.ones(4, 4), atol=1e-4), "rotations stay rotations"
    warp = forward_warp(images[:, :1], depth[:, :1], K[:, :1], c2w[:, :1], K[:, 2], c2w[:, 2], (H, W))
    agree = ((warp.depth - depth[:, 2]).abs() < 0.05 * depth[:, 2]) & warp.seen
    assert (agree.sum(dim=(1, 2)) > 0.7 * warp.seen.sum(dim=(1, 2))).all()
    error = (warp.values[:, :3] - images[:, 2]).abs().mean(dim=1)
    assert error[agree].mean() < 0.04


def test_some_scenes_are_mirrored_and_windows_differ(rooms):
    torch.manual_seed(0)
    _, K, c2w, _ = reframed(*(x.repeat(8, *[1] * (x.ndim - 1)) for x in views(rooms)), (64, 48))
    mirrored = (c2w[:, 0] - rooms.c2w[:, 0].repeat(8, 1, 1)).abs().amax(dim=(1, 2)) > 1e-3
    assert 8 < mirrored.sum() < 24
    zoom = K[:, 0, 0, 0] / rooms.K[:, 0, 0, 0].repeat(8) * 96 / 64
    assert zoom.min() < 1.1 and zoom.max() > 1.4 and zoom.min() > 0.75 and zoom.max() < 2
    assert torch.equal(K[:, 0], K[:, 3]), "one window for all views of a scene"


def test_more_detail_is_the_same_picture_and_holes_stay_holes(rooms):
    depth = rooms.depth.clone()
    depth[..., :36] = torch.nan
    drawn = []
    for detail in (1, 2):
        torch.manual_seed(2)
        drawn.append(reframed(rooms.images, rooms.K, rooms.c2w, depth, (48, 36), detail))
    (small, K, _, depth), (large, same, _, _) = drawn
    assert large.shape[-2:] == (72, 96) and torch.equal(K, same)
    pooled = torch.nn.functional.avg_pool2d(large.flatten(0, 1), 2).unflatten(0, (4, 4))
    assert (pooled - small).abs().mean() < 0.02
    assert depth.isnan().any() and depth.isfinite().any()


def views(rooms):
    return rooms.images, rooms.K, rooms.c2w, rooms.depth
