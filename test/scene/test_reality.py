# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The drift monitor: what was generated against what is observed there later, in rooms whose depth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gld_ros.data.rooms import camera_pose, random_room
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.scene.drift import DriftMonitor
from gld_ros.scene.drift_report import RealityConfig
from gld_ros.views import Scale, View

SECOND = 1_000_000_000
W, H = 64, 48
CONFIDENCE = 0.8
K = intrinsics(36.0, 36.0, W / 2, H / 2)


def camera(x=0.0, y=0.0, yaw=0.0) -> Camera:
    """Looks along the map's x axis at yaw 0; z of the map is up."""
    return Camera(K, camera_pose(np.array([x, y, 0.0]), yaw, 0.0), W, H)


def made(depth, at=None, stamp=SECOND, generated=True, confidence=CONFIDENCE, image=None) -> View:
    depth = np.broadcast_to(np.asarray(depth, np.float32), (H, W)).copy()
    image = np.full((H, W, 3), 100, np.uint8) if image is None else image
    generated = np.broadcast_to(generated, (H, W)).copy()
    confidence = np.full((H, W), confidence, np.float32)
    return View(at or camera(), image, depth, confidence, generated, Scale(1, "stereo", 0), "test", 0, (stamp,))


def seen(depth, at=None, stamp=2 * SECOND, **more) -> View:
    return made(depth, at, stamp, generated=False, **more)


def look(monitor, view):
    """What `view` shows, as a picture that a real camera took."""
    depth = np.where(view.generated, np.nan, view.depth)
    return monitor.observe(depth, view.image, view.confidence, view.camera, view.source_stamps[0])


@pytest.fixture(scope="module")
def drive():
    """Cameras on a drive through a room, with its true pictures."""
    room = random_room(3)
    cameras = [Camera(K, c2w, W, H) for c2w in room.trajectory(10, seed=1)[::3]]
    return cameras, *room.render(cameras)


def predicted(drive, k, scale=1.0, **more):
    cameras, images, depths = drive
    return made(depths[k] * np.float32(scale), cameras[k], image=images[k], **more)


def observed(drive, k, **more):
    cameras, images, depths = drive
    return seen(depths[k], cameras[k], image=images[k], **more)


# ---- verdicts


def test_a_perfect_prediction_has_no_error_and_full_trust(drive):
    monitor = DriftMonitor()
    count = monitor.remember(predicted(drive, 0))
    report = look(monitor, observed(drive, 0))
    assert report.error < 1e-9 and (report.colour_error, report.trust) == (0, 1)
    assert (report.right, report.ghosts, report.missed, report.hidden) == (count, 0, 0, 0)
    assert len(monitor) == 0  # each point is judged once
    assert look(monitor, observed(drive, 0)) is None


def test_from_other_places_it_holds_too_as_far_as_it_can_be_seen(drive):
    monitor = DriftMonitor()
    for other in (1, 2, 3):
        monitor.remember(predicted(drive, 0))
        report = look(monitor, observed(drive, other))
        assert report.judged > 200 and report.error < 0.03 and report.colour_error < 0.15
        assert report.ghosts + report.missed < 0.03 * report.judged
        assert report.trust == 1
        monitor.clear()


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(1.2, 3) | st.floats(0.2, 0.8), other=st.integers(0, 3))
def test_a_wrong_scale_is_an_error_and_lowers_trust(drive, scale, other):
    monitor = DriftMonitor()
    monitor.remember(predicted(drive, 0, scale))
    report = look(monitor, observed(drive, other))
    assert report.right < 0.5 * report.judged
    enough = CONFIDENCE * report.judged >= monitor.config.min_points
    assert report.trust == monitor.trust() and (report.trust < 0.85 if enough else report.trust == 1)
    assert (report.ghosts > report.missed) == (scale < 1)
    if other == 0:
        assert report.error == pytest.approx(abs(scale - 1), rel=0.1)


def test_what_is_behind_the_observed_surface_is_hidden_or_missed():
    """Predicted: a wall at x = 4 m, from the front or from behind x = 2 m, where a surface is then seen."""
    before, behind = DriftMonitor(), DriftMonitor()
    count = before.remember(made(4.0, camera()))
    assert count == behind.remember(made(1.0, camera(x=3.0)))
    report = look(before, seen(2.0))
    assert (report.missed, report.right, report.ghosts) == (count, 0, 0) and report.error == pytest.approx(1.0)
    assert look(behind, seen(2.0)) is None
    assert len(behind) == count and behind.trust() == 1  # they wait


def test_ghosts_are_what_is_looked_through():
    monitor = DriftMonitor()
    depth = np.full((H, W), 4.0)
    depth[20:30, 20:40] = 2.0  # a box that is not there
    count = monitor.remember(made(depth))
    report = look(monitor, seen(4.0))
    assert report.ghosts == pytest.approx(200 * count / (H * W), rel=0.2) and report.missed == 0
    assert report.right == count - report.ghosts


def test_a_synthesized_view_shows_surfaces_and_looks_through_nothing():
    depth = np.full((H, W), 4.0)
    depth[:24] = 2.0
    monitor = DriftMonitor()
    count = monitor.remember(made(depth))
    report = monitor.observe_view(seen(4.0))
    assert (report.right, report.ghosts, report.missed, report.hidden) == (count / 2, 0, 0, count / 2)
    assert len(monitor) == count / 2 and not monitor.awaits(SECOND) and monitor.awaits(SECOND + 1)
    report = monitor.observe_view(seen(1.0, stamp=3 * SECOND))
    assert report.missed == count / 2 and len(monitor) == 0


def test_unknown_and_unsure_and_older_pixels_say_nothing():
    monitor = DriftMonitor()
    count = monitor.remember(made(2.0))
    for view in (seen(np.nan), seen(1.0, confidence=0.4), seen(1.0, stamp=SECOND), made(1.0, stamp=2 * SECOND)):
        assert look(monitor, view) is None and monitor.observe_view(view) is None
    assert len(monitor) == count
    assert DriftMonitor().remember(seen(2.0)) == 0  # and what was observed is no prediction


def test_sizes_have_to_fit():
    view = seen(1.0)
    with pytest.raises(InvalidRequest, match="confidence has the shape"):
        DriftMonitor().observe(view.depth, view.image, view.confidence[1:], view.camera, 1)
    with pytest.raises(InvalidRequest, match="tolerance is 0"):
        RealityConfig(tolerance=0)


def test_errors_by_age_and_distance():
    monitor = DriftMonitor(RealityConfig(age_limits=(5.0, 15.0), distance_limits=(3.0,)))
    monitor.remember(made(2.0, stamp=SECOND))
    monitor.remember(made(5.5, stamp=9 * SECOND))
    report = look(monitor, seen(5.0, stamp=12 * SECOND))
    assert (report.oldest, report.newest, report.stamp) == (SECOND, 9 * SECOND, 12 * SECOND)
    young, older, oldest = report.ages
    assert [bin.limit for bin in report.ages] == [5, 15, math.inf]
    assert young.error == pytest.approx(0.1, abs=1e-3) and older.error == pytest.approx(0.6, abs=1e-3)
    assert oldest.count == 0 and math.isnan(oldest.error)
    near, far = report.distances
    assert near.count == older.count and far.count == young.count and near.error == older.error


# ---- trust


def test_trust_is_what_makes_confidence_true():
    """The model is sure of 0.8 and right with half: trust goes to 0.625, and no farther."""
    monitor = DriftMonitor()
    depth = np.full((H, W), 4.0)
    depth[:, ::2] = 2.0
    flat = np.full((H, W), 4.0)
    for k in range(12):
        monitor.remember(made(depth[:, np.arange(W) // 2], stamp=k * SECOND))  # stripes two pixels wide
        report = look(monitor, seen(flat, stamp=k * SECOND + 1))
    assert monitor.trust() == pytest.approx(report.right / (report.judged * 0.8), abs=0.02)
    view = made(1.0, generated=np.arange(W) < 10)
    trusted = monitor.trusted(view)
    np.testing.assert_allclose(trusted.confidence[:, :10], 0.8 * monitor.trust(), rtol=1e-6)
    np.testing.assert_array_equal(trusted.confidence[:, 10:], view.confidence[:, 10:])
    assert (view.trust, trusted.trust) == (1, monitor.trust())


def test_trust_falls_fast_and_recovers_slowly():
    monitor = DriftMonitor()

    def check(depth, k):
        monitor.remember(made(depth, stamp=k * SECOND))
        look(monitor, seen(2.0, stamp=k * SECOND + 1))
        return monitor.trust()

    bad = [check(4.0, k) for k in range(3)]
    assert bad == pytest.approx([0.5, 0.25, 0.125])
    good = [check(2.0, k) for k in range(3, 43)]
    assert good[0] == pytest.approx(0.125 + 0.1 * 0.875) and good[2] < 0.4
    assert good == sorted(good) and 0.95 < good[-1] <= 1
    monitor.clear()
    assert monitor.trust() == good[-1]


def test_few_or_unsure_points_do_not_move_trust():
    monitor = DriftMonitor()
    few = np.zeros((H, W), bool)
    few[:4, :4] = True
    for view in (made(4.0, generated=few), made(4.0, confidence=1e-3)):
        monitor.remember(view)
        assert look(monitor, seen(2.0)).trust == 1


# ---- bounds


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=12),
    points=st.integers(1, 300),
    views=st.integers(1, 5),
)
def test_the_memory_is_bounded(sizes, points, views):
    monitor = DriftMonitor(RealityConfig(max_views=views, points_per_view=points))
    for width, height in sizes:
        at = replace(camera(), width=width, height=height)
        ones = np.ones((height, width), np.float32)
        image = np.zeros((height, width, 3), np.uint8)
        view = View(at, image, ones, ones, ones > 0, Scale(1, "stereo", 0), "test", 0, (SECOND,))
        assert 0 < monitor.remember(view) <= points
        assert len(monitor) <= views * points


@pytest.mark.parametrize("later", [12, -12])  # a clock that jumps back, too
def test_old_predictions_expire(later):
    monitor = DriftMonitor(RealityConfig(lifetime=10.0))
    start = 100 * SECOND
    count = monitor.remember(made(2.0, stamp=start))
    assert look(monitor, seen(2.0, camera(yaw=np.pi), stamp=start + SECOND)) is None  # looks elsewhere
    assert len(monitor) == count
    assert look(monitor, seen(2.0, stamp=start + later * SECOND)) is None
    assert len(monitor) == 0
