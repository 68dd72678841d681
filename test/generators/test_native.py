# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Generated views of one request show one world: later ones take what earlier ones generated."""

import numpy as np
import pytest
import torch

from gld_ros.data.look_away import render_look_away
from gld_ros.data.rooms import TEST_SEED
from gld_ros.generators.native import Pixels, shared
from gld_ros.geometry.cameras import Camera, RelativeFrame


@pytest.fixture(scope="module")
def targets():
    """Two targets that show the same part of a room, with its true depth, as if nothing of them had been seen."""
    views = render_look_away([TEST_SEED + 3], 2, 3, 96, 72, kind="furnished")
    image, depth, K, c2w = (x[0, [0, 1]] for x in (views.images, views.depth, views.K, views.c2w))
    cameras = [Camera(K[k].double().numpy(), c2w[k].double().numpy(), 96, 72) for k in range(2)]
    unseen = torch.zeros(72, 96, dtype=torch.bool)
    return [Pixels(image[k], depth[k], torch.full_like(depth[k], 0.1), unseen) for k in range(2)], cameras


def changed(view: Pixels, **fields) -> Pixels:
    return Pixels(**{**vars(view), **fields})


def test_a_later_view_takes_what_an_earlier_one_generated(targets):
    (first, second), cameras = targets
    grey = changed(second, image=torch.full_like(second.image, 0.5), depth=1.1 * second.depth)
    kept, taken = shared([first, grey], cameras, RelativeFrame(cameras))
    assert kept is first and torch.equal(taken.seen, grey.seen)
    near = (taken.depth / second.depth - 1).abs() < 0.03  # the earlier view's depth, not the later one's
    assert near.float().mean() > 0.4
    error = (taken.image - second.image).abs().mean(dim=0)
    assert error[near].median() < 0.03 < (grey.image - second.image).abs().mean()


def test_observed_pixels_stay(targets):
    (first, second), cameras = targets
    seen = changed(second, image=torch.full_like(second.image, 0.5), seen=torch.ones_like(second.seen))
    _, taken = shared([first, seen], cameras, RelativeFrame(cameras))
    assert torch.equal(taken.image, seen.image) and torch.equal(taken.depth, seen.depth)


def test_another_surface_is_not_taken(targets):
    (first, second), cameras = targets
    wall = changed(second, depth=0.5 * second.depth)
    _, taken = shared([first, wall], cameras, RelativeFrame(cameras))
    assert (taken.depth / wall.depth - 1).abs().median() < 0.01


def test_views_of_other_sizes(targets):
    (first, second), cameras = targets
    small = [cameras[0], cameras[1].resized(48, 36)]
    half = Pixels(second.image[:, ::2, ::2], second.depth[::2, ::2], second.spread[::2, ::2], second.seen[::2, ::2])
    _, taken = shared([first, half], small, RelativeFrame(small))
    assert taken.image.shape == (3, 36, 48) and np.isfinite(taken.depth.numpy()).all()
