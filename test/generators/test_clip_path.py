# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A request as a camera path, and the middle of images that a model of one aspect sees."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from gld_ros.errors import InvalidRequest
from gld_ros.generators.clip_path import clip_path
from gld_ros.generators.framing import UNKNOWN, covered_camera, covered_source, uncovered
from gld_ros.generators.native import Pixels
from gld_ros.geometry.cameras import Camera
from gld_ros.views import SourceView

K = np.array([[50.0, 0, 32], [0, 52.0, 24], [0, 0, 1]])


def camera(x: float, turn: float = 0.0, width: int = 64, height: int = 48) -> Camera:
    c2w = np.eye(4)
    c2w[:3, :3], c2w[0, 3] = Rotation.from_euler("y", turn, degrees=True).as_matrix(), x
    return Camera(K, c2w, width, height)


@pytest.mark.parametrize("sources", [1, 2])
def test_each_camera_of_the_request_is_exactly_on_a_frame(sources):
    given, targets = [camera(0.0), camera(4.0, 60)][:sources], [camera(1.0, 10), camera(2.0, -30), camera(3.0, 20)]
    path = clip_path(given, targets, 17)
    assert len(path.cameras) == 17 and path.sources == [0, 16][:sources]
    assert sources == 2 or path.targets[-1] == 16
    assert path.targets == sorted(set(path.targets) - {0})
    for frame, wanted in zip((*path.sources, *path.targets), (*given, *targets), strict=True):
        np.testing.assert_array_equal(path.cameras[frame].c2w, wanted.c2w)


def test_the_way_between_is_smooth_and_does_not_overshoot():
    path = clip_path([camera(0.0)], [camera(1.0, 40), camera(1.2, 40)], 49)
    x = path.c2w[:, 0, 3]
    assert (np.diff(x) >= 0).all() and x.max() == 1.2 and np.diff(x).max() < 0.08
    turns = Rotation.from_matrix(path.c2w[:, :3, :3])
    assert (turns[1:] * turns[:-1].inv()).magnitude().max() < 0.05
    assert path.targets[0] > 35  # most of the way, and of the turn, is the first target's


def test_all_frames_given():
    given = [camera(0.1 * k) for k in range(5)]
    path = clip_path(given, [given[3], given[1]], 5)
    assert path.targets == [3, 1] and path.sources == [0, 1, 2, 3, 4]
    with pytest.raises(InvalidRequest, match="target 0 is at none of the sources' poses"):
        clip_path(given, [camera(0.05)], 5)


@pytest.mark.parametrize(
    ("sources", "targets", "frames", "message"),
    [
        (1, 1, 6, "a clip of 6 frames, expected 4 n"),
        (3, 1, 9, "3 source views, expected 1, 2 or, for all frames of the clip, 9"),
        (2, 4, 5, "2 sources and 4 targets: a clip of 5 frames has not so many"),
    ],
)
def test_refused(sources, targets, frames, message):
    with pytest.raises(InvalidRequest, match=message):
        clip_path([camera(k) for k in range(sources)], [camera(0.5 + k) for k in range(targets)], frames)


def test_the_middle_of_a_source_and_back():
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 8:56] = np.arange(48, dtype=np.uint8)[None, :, None] * 4
    depth = np.full((48, 64), 2.0, np.float32)
    depth[:, :32] = 1.0
    mask = np.ones((48, 64), bool)
    mask[:4] = False
    source = SourceView(image, camera(0.0), depth=depth, mask=mask)
    seen = covered_source(source, (96, 96))
    assert seen.image.shape == (96, 96, 3) and (seen.camera.width, seen.camera.height) == (96, 96)
    np.testing.assert_allclose(seen.camera.K[:2, 2], (48, 48))
    np.testing.assert_allclose(seen.camera.K[0, 0], 100)
    assert (seen.depth[:, :48] == 1).all() and (seen.depth[:, 48:] == 2).all()
    assert not seen.mask[:8].any() and seen.mask[8:].all()
    picture = torch.from_numpy(seen.image).permute(2, 0, 1).float() / 255
    maps = torch.from_numpy(seen.depth), torch.full((96, 96), 0.1), torch.ones(96, 96, dtype=torch.bool)
    back = uncovered(Pixels(picture, *maps), camera(0.0))
    inner, outer = back.depth[:, 8:56], torch.cat([back.depth[:, :8], back.depth[:, 56:]], dim=1)
    np.testing.assert_array_equal(inner, depth[:, 8:56])
    assert outer.isnan().all() and not back.seen[:, :8].any() and back.seen[:, 8:56].all()
    assert (back.spread[:, :8] == UNKNOWN).all()
    # What is painted over below the mask is not compared.
    np.testing.assert_allclose(back.image[:, 6:, 10:54] * 255, image.transpose(2, 0, 1)[:, 6:, 10:54], atol=2)


def test_a_camera_of_the_size_stays_as_it_is():
    one = camera(0.3, 5, 64, 64)
    np.testing.assert_array_equal(covered_camera(one, (64, 64)).K, one.K)
