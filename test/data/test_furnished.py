# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Furnished rooms and the cameras that look where no source did."""

import numpy as np
import pytest
import torch

from gld_ros.data.floor_plan import BOXES
from gld_ros.data.furnished import furnished_room, with_photo_columns
from gld_ros.data.look_away import render_look_away, unseen
from gld_ros.data.materials import bricks, planks, tiles
from gld_ros.data.raytrace import first_hit, render
from gld_ros.data.room_views import RoomViews, render_scenes, sample_cameras
from gld_ros.data.rooms import TEST_SEED, random_room, stack_rooms
from gld_ros.data.textures import albedo
from gld_ros.errors import InvalidRequest


def test_plain_rooms_stay_as_they_are():
    views = render_scenes([5, TEST_SEED + 3], 48, 36)
    corner = views.images[:, :, :, 3, 5].flatten()[:6]
    expected = torch.tensor([0.10623, 0.08328, 0.0679, 0.16958, 0.22269, 0.0504])
    assert torch.allclose(corner, expected, atol=1e-4), corner
    assert torch.allclose(views.depth[:, 0, 20, 30], torch.tensor([3.7226, 4.9125]), atol=1e-3), views.depth[
        :, 0, 20, 30
    ]


def test_a_ray_goes_at_least_as_far_as_the_clearance():
    rng = np.random.default_rng(0)
    for seed in range(12):
        room = furnished_room(seed)
        points = rng.uniform(0.02, 0.98, (200, 3)) * room.size
        rays = rng.standard_normal((200, 3))
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        free = room.clearance(points)
        hit = first_hit(stack_rooms([room]), *(torch.tensor(x.T[None]).float() for x in (points, rays)))[0][0].numpy()
        # Inside of an object a ray meets nothing of it.
        assert (hit[free > 0] >= free[free > 0] - 1e-4).all()
        assert (free > 0.1).mean() > 0.6


def test_furniture_stands_in_the_room():
    for seed in range(40):
        room = furnished_room(seed)
        boxes = room.arrays["boxes"]
        assert boxes.shape == (BOXES, 7)
        used = boxes[boxes[:, 2] > -1]
        assert len(used) > 8
        upright = used[used[:, 6] == 0]
        assert (upright[:, :3] - upright[:, 3:6] > -0.05).all()
        assert (upright[:, :3] + upright[:, 3:6] < room.size + 0.05).all()
        # Much stands on the floor, and not all in one place.
        standing = upright[(upright[:, 2] - upright[:, 5] < 0.04) & (upright[:, 5] > 0.02)]
        low, high = standing[:, :2] - standing[:, 3:5], standing[:, :2] + standing[:, 3:5]
        meets = ((low[:, None] < high - 0.06) & (high[:, None] > low + 0.06)).all(axis=2)
        assert len(standing) > 3 and meets.sum(axis=1).max() < 9


def test_a_passage_is_open_between_walls():
    rooms = [room for room in map(furnished_room, range(40)) if len(room.passages)]
    assert 8 < len(rooms) < 35
    for room in rooms:
        middle, through = room.passages[0, :2], room.passages[0, 2:]
        way = np.array([[*(middle + step * through), 1.0] for step in (-0.6, 0.0, 0.6)])
        assert room.clearance(way).min() > 0.3
        beside = np.outer(np.linspace(-20, 20, 400), [-through[1], through[0]]) + middle
        beside = beside[((beside > 0) & (beside < room.size[:2])).all(axis=1)]
        blocked = room.clearance(np.column_stack([beside, np.full(len(beside), 1.0)])) < 0
        assert blocked.mean() > 0.3


@pytest.mark.parametrize("kind", [planks, tiles, bricks])
def test_textures_have_detail_near_by_and_none_below_a_pixel(kind):
    row = torch.tensor(kind(np.random.default_rng(1))).float()
    uv = 5 * torch.rand(1, 2, 4000, generator=torch.Generator().manual_seed(0))
    material, height = row[None, :, None].expand(1, -1, 4000), torch.ones(1, 4000)
    near, far = (albedo(material, uv, height, torch.full((1, 4000), size)) for size in (0.002, 3.0))
    assert near.std() > 0.01
    assert far.std(dim=-1).max() < 0.02
    # The mean of what fades is what it fades to.
    assert (near.mean(dim=-1) - far.mean(dim=-1)).abs().max() < 0.06


def test_a_plain_room_keeps_its_shape_among_furnished_ones():
    room = random_room(3)
    K, c2w = (torch.tensor(x).float()[None] for x in sample_cameras(room, np.random.default_rng(0), 48, 36))
    plain, plain_depth = render(stack_rooms([room]), K, c2w, 36, 48)
    both = render(
        stack_rooms([with_photo_columns(room), furnished_room(0)]), K.repeat(2, 1, 1, 1), c2w.repeat(2, 1, 1, 1), 36, 48
    )
    assert torch.allclose(both[1][0], plain_depth[0])
    assert (both[0][0] - plain[0]).abs().mean() < 0.1  # the corners are darker


@pytest.fixture(scope="module")
def away() -> RoomViews:
    return render_look_away(list(range(TEST_SEED, TEST_SEED + 24)), 2, 4, 48, 36)


def test_a_seed_gives_one_scene_at_every_size(away):
    larger = render_look_away([TEST_SEED + 1], 2, 4, 96, 72)
    assert torch.equal(larger.c2w[0], away.c2w[1])
    assert torch.allclose(larger.K[0, :, :2], 2 * away.K[1, :, :2], rtol=1e-5)
    assert larger.images.shape == (1, 6, 3, 72, 96)
    small = torch.nn.functional.avg_pool2d(larger.images[0], 2)
    assert (small - away.images[1]).abs().mean() < 0.03


def test_most_targets_look_where_no_source_did(away):
    share = unseen(away, 2).float().mean(dim=(2, 3))
    wanted = (share > 0.2) & (share < 0.85)
    assert wanted.float().mean() > 0.7
    assert (share < 0.2).float().mean() > 0.08  # some are near the sources
    assert wanted.sum(dim=1).min() >= 2


def test_two_targets_share_what_no_source_saw(away):
    hidden = unseen(away, 2)
    common = torch.zeros(len(hidden))
    for a in range(4):
        for b in (k for k in range(4) if k != a):
            pair = [2 + b, 2 + a]
            one = RoomViews(away.images[:, pair], away.depth[:, pair], away.K[:, pair], away.c2w[:, pair])
            seen_by_b = ~unseen(one, 1)[:, 0]
            common = torch.maximum(common, (seen_by_b & hidden[:, a]).float().mean(dim=(1, 2)))
    assert (common > 0.15).float().mean() > 0.9


def test_cameras_stand_free(away):
    assert away.depth.min() > 0.05
    nearest = away.depth.flatten(2).quantile(0.2, dim=-1)
    assert (nearest > 0.25).float().mean() > 0.95


def test_unseen_is_nothing_for_the_same_camera_and_everything_behind_it(away):
    def again(c2w: torch.Tensor, depth: torch.Tensor) -> RoomViews:
        first = slice(0, 1)
        return RoomViews(
            away.images[:, :2],
            torch.cat([away.depth[:, first], depth], dim=1),
            away.K[:, :2],
            torch.cat([away.c2w[:, first], c2w], dim=1),
        )

    same = unseen(again(away.c2w[:, :1], away.depth[:, :1]), 1)
    assert not same.any()
    behind = away.c2w[:, :1] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    assert unseen(again(behind, away.depth[:, :1]), 1).all()
    # A surface in front of what the source sees, or behind it, is not what the source saw.
    assert unseen(again(away.c2w[:, :1], 1.1 * away.depth[:, :1]), 1).float().mean() > 0.95


@pytest.mark.parametrize("options", [{"sources": 0}, {"targets": 9}, {"kind": "outdoors"}])
def test_what_cannot_be_rendered_is_refused(options):
    with pytest.raises(InvalidRequest):
        render_look_away([0], **options)


def test_unseen_needs_a_source_and_a_target(away):
    for sources in (0, 6):
        with pytest.raises(InvalidRequest):
            unseen(away, sources)
