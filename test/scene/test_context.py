# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Key frames and the choice of sources."""

from dataclasses import replace

import numpy as np
import pytest

from gld_ros.errors import NoContext
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import frustum
from gld_ros.geometry.se3 import look_at
from gld_ros.scene.key_frames import KeyFrameBuffer, KeyFrameRules, select_sources
from gld_ros.views import SourceView

K = np.array([[100.0, 0, 80], [0, 100, 60], [0, 0, 1]])
SECOND = 1_000_000_000


def camera(eye, target, origin=(0.0, 0.0, 0.0)):
    offset = np.array(origin)
    return Camera(K, look_at(np.array(eye, float) + offset, np.array(target, float) + offset), 160, 120)


def view(eye, target=(10.0, 0.0, 0.0), stamp=0, origin=(0.0, 0.0, 0.0)):
    return SourceView(np.zeros((120, 160, 3), np.uint8), camera(eye, target, origin), stamp)


def test_a_frame_is_kept_after_motion_or_turn_only():
    buffer = KeyFrameBuffer(KeyFrameRules(translation=0.5, rotation=0.2))
    assert buffer.add("front", view((0, 0, 0)))
    assert not buffer.add("front", view((0.4, 0, 0)))
    assert buffer.add("front", view((0.6, 0, 0)))
    assert buffer.add("front", view((0, 0, 0), target=(10, 3, 0)))
    assert not buffer.add("front", view((0.1, 0, 0)))  # back where it was
    assert buffer.add("rear", view((0, 0, 0)))  # another camera at the same place
    assert len(buffer) == len(buffer.frames()) == 4


def test_a_frame_with_depth_takes_the_place_of_one_without():
    buffer = KeyFrameBuffer(KeyFrameRules(translation=0.5))
    bare, depth = view((0.1, 0, 0)), np.ones((120, 160), np.float32)
    assert buffer.add("front", view((0, 0, 0))) and buffer.add("rear", view((0, 0, 0)))
    assert not buffer.wants("front", bare.camera.c2w, 1) and buffer.wants("front", bare.camera.c2w, 1, measured=True)
    assert buffer.add("front", replace(bare, depth=depth, stamp=1))
    assert not buffer.add("front", replace(bare, depth=depth, stamp=2)) and not buffer.add("front", bare)
    assert [(name, frame.stamp, frame.depth is None) for name, frame in buffer.named_frames()] == [
        ("rear", 0, True),
        ("front", 1, False),
    ]


def test_old_frames_are_forgotten_and_replaced():
    buffer = KeyFrameBuffer(KeyFrameRules(max_age=10.0))
    assert buffer.add("front", view((0, 0, 0), stamp=SECOND))
    assert not buffer.add("front", view((0, 0, 0), stamp=11 * SECOND))
    assert buffer.add("front", view((0, 0, 0), stamp=12 * SECOND))
    assert [frame.stamp for frame in buffer.frames()] == [12 * SECOND]


def test_capacity_drops_the_oldest():
    buffer = KeyFrameBuffer(KeyFrameRules(capacity=3))
    for i in range(5):
        buffer.add("front", view((i, 0, 0), stamp=i + 1))
    assert [frame.stamp for frame in buffer.frames()] == [3, 4, 5]
    buffer.clear()
    assert buffer.frames() == []


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (448_262.0, 5_411_932.0, 120.0)])  # the second is UTM
def test_sources_look_at_the_target_and_have_a_baseline(origin):
    away = view((0, 0, 0), target=(-10, 0, 0), stamp=1, origin=origin)  # newest or not, it looks the other way
    same = [view((-0.5, 0.001 * i, 0), stamp=2 + i, origin=origin) for i in range(3)]
    aside = view((-0.5, 0.8, 0), stamp=9, origin=origin)
    target = camera((0, 0, 0), (10, 0, 0), origin)
    chosen = select_sources([away, *same, aside], [target], 2)
    assert [frame.stamp for frame in chosen] in ([2, 9], [3, 9], [4, 9], [9, 2], [9, 3], [9, 4])
    assert {frame.stamp for frame in select_sources([away, *same, aside], [target], 9)} == {2, 3, 4, 9}


def test_the_nearest_view_of_a_drive_comes_first():
    drive = [view((x, 0, 0), target=(x + 10, 0, 0), stamp=i + 1) for i, x in enumerate(range(10))]
    chosen = select_sources(drive, [camera((4.2, 0, 0), (14.2, 0, 0))], 2)
    assert chosen[0].stamp in (4, 5)
    assert {frame.stamp for frame in chosen} <= {3, 4, 5, 6}


def test_scale_of_the_world_does_not_matter():
    chosen = []
    for scale in (0.01, 1.0, 100.0):
        frames = [
            view(np.array(eye) * scale, target=np.array((10.0, 0, 0)) * scale, stamp=i)
            for i, eye in enumerate([(0, 1.0, 0), (0, -1.0, 0), (-3, 0, 0), (0, 0.1, 0)])
        ]
        target = camera(np.zeros(3), np.array((10.0, 0, 0)) * scale)
        chosen.append([frame.stamp for frame in select_sources(frames, [target], 2)])
    assert chosen[0] == chosen[1] == chosen[2]


def test_no_context():
    target = camera((0, 0, 0), (10, 0, 0))
    with pytest.raises(NoContext, match="holds no frame"):
        select_sources([], [target], 2)
    with pytest.raises(NoContext, match="none of the 1 frames"):
        select_sources([view((0, 0, 0), target=(-10, 0, 0))], [target], 2)


def test_frustum_corners():
    corners = frustum(Camera(K, np.eye(4), 160, 120), 2.0)
    np.testing.assert_allclose(corners, [(-1.6, -1.2, 2), (1.6, -1.2, 2), (1.6, 1.2, 2), (-1.6, 1.2, 2)])
