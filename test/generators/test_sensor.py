# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth of sensors among the sources: believed where it was measured, also by those that look past a surface."""

import numpy as np
import pytest
import torch
from builders.models import tiny

from gld_ros.data.rooms import random_room
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.native import native_sources, pictures
from gld_ros.generators.scale import joined
from gld_ros.geometry.cameras import Camera, RelativeFrame
from gld_ros.networks.posed_depth import SourceDepth
from gld_ros.views import SENSOR_SPREAD, SourceView

SIZE = (72, 96)


@pytest.fixture(scope="module")
def views():
    """Two views of a room, 0.2 m apart, and their true depths."""
    room = random_room(3)
    K = np.array([[55.0, 0, 48], [0, 55, 36], [0, 0, 1]])
    cameras = [Camera(K, c2w, 96, 72) for c2w in room.trajectory(20, seed=1)[:8:4]]
    images, depths = room.render(cameras)
    return [SourceView(image, camera) for image, camera in zip(images, cameras, strict=True)], depths.astype(np.float32)


def with_sensors(views, *sensors):
    """Sources with this depth of their sensors, of which a block in the first is thought to hang half way."""
    sources = [SourceView(v.image, v.camera, depth=d) for v, d in zip(views[0], sensors, strict=True)]
    frame = RelativeFrame([source.camera for source in sources])
    thought = torch.tensor(views[1])[None] / frame.unit
    thought[0, 0, 30:50, 40:60] *= 0.5
    images = pictures([source.image for source in sources], SIZE, "cpu")
    found = native_sources(sources, images, SourceDepth(thought, torch.full_like(thought, 0.1)), frame, 96 * 72)
    return (found.depth[0] * frame.unit).numpy(), found.values[0, :, 3].numpy()


def test_what_a_sensor_looks_through_is_no_surface(views):
    true = views[1]
    inner = np.s_[0, 33:47, 43:57]
    depth, _ = with_sensors(views, None, None)
    assert np.isfinite(depth).all() and np.median(depth[inner] / true[inner]) == pytest.approx(0.5, abs=0.1)
    refuted, spread = with_sensors(views, None, true[1])
    assert np.isnan(refuted[inner]).mean() > 0.9 and np.isfinite(refuted[0]).mean() > 0.8
    np.testing.assert_allclose(refuted[1], true[1], rtol=1e-5)
    assert np.allclose(spread[1], SENSOR_SPREAD) and spread[0].min() > 2 * SENSOR_SPREAD
    own = np.where(np.arange(96) < 70, true[0], np.nan).astype(np.float32)
    mended, _ = with_sensors(views, own, None)  # its own sensor says where the block is
    np.testing.assert_allclose(mended[0, :, :70], true[0, :, :70], rtol=1e-5)
    assert np.isfinite(mended[0, :, 70:]).all()


def test_models_that_triangulate_nothing_observe_what_the_sensor_measured(views):
    gld = GLD(tiny("da3"))
    depth = views[1][0].copy()
    depth[:10] = 0
    sources = [SourceView(views[0][0].image, views[0][0].camera, 7, depth)]
    (found,) = gld.observed_depth(sources, (SIZE, 96 * 72))
    assert np.isnan(found.depth[:10]).all() and found.stamp == 7 and found.confidence.min() > 0.9
    np.testing.assert_array_equal(found.depth[10:], depth[10:])
    assert found.measured[10:].all() and not found.measured[:10].any()
    assert gld.observed_depth([*sources, views[0][1]]) == []


def test_depth_meets_what_the_sensor_measured(views):
    """A depth that is off by 30 to 60 % is right next to what was measured; a source without a sensor stays."""
    true = torch.tensor(views[1])[None]
    wrong = true * torch.linspace(1.3, 1.6, 96)
    wrong[..., :5, :5] = torch.nan  # excluded by a mask
    measured = torch.zeros_like(true, dtype=torch.bool)
    measured[:, 0, :, 5:60] = True
    found = joined(wrong, torch.where(measured, true, torch.nan), measured)
    np.testing.assert_array_equal(found[measured], true[measured])
    np.testing.assert_array_equal(found[:, 1], wrong[:, 1])
    error = (found / true - 1).abs()[0, 0]
    assert error[:, 60:64].median() < 0.05 and error[:, 60:].median() < 0.2 and error[5:].isfinite().all()
