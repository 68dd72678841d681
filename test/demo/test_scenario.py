# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo shows and asks for, before any node runs."""

from __future__ import annotations

import numpy as np
import pytest

from gld_ros.data.rooms import TEST_SEED
from gld_ros.data.sequence import write_folder
from gld_ros.data.simulation import Robot
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import project, unproject
from gld_ros.geometry.se3 import rotation_angle
from gld_ros.ros.demo import scenario as scenes
from gld_ros.ros.demo.scenario import recorded_scenario, simulated_scenario

NEVER_SEEN = 0.35  # of a look's pixels, in the mean: more than the demo needs, as its path begins where the drive ends


@pytest.fixture(scope="module")
def simulated():
    return simulated_scenario()


@pytest.fixture(scope="module")
def robot():
    return Robot(scenes.ROOM, scenes.LAST + 1, *scenes.ROOM_SIZE)


def unseen(target, shown):
    """Share of the pixels of `target` (a SourceView) that no view of `shown` sees, by exact depth."""
    points = unproject(target.depth, target.camera)
    seen = np.zeros(target.depth.shape, bool)
    for view in shown:
        pixels, z = project(points, view.camera)
        inside = (z > 0) & (pixels >= 0).all(axis=2) & (pixels < [view.camera.width, view.camera.height]).all(axis=2)
        columns, rows = np.where(inside[..., None], pixels, 0).astype(int).transpose(2, 0, 1)
        seen |= inside & (np.abs(view.depth[rows, columns] / np.where(inside, z, 1) - 1) < 0.03)
    return 1 - seen.mean()


def test_the_drive_has_not_looked_where_the_demo_asks(simulated):
    assert simulated.camera_parameters["seed"] >= TEST_SEED
    shown = [simulated.source(index) for index in range(0, len(simulated.sources), 4)]
    shown.append(simulated.source(len(simulated.sources) - 1))
    between, *looks = [unseen(target, shown) for target in simulated.targets]
    assert between < 0.05
    assert np.mean(looks) > NEVER_SEEN and min(looks) > 0.1, looks


def test_the_looks_are_where_a_robot_could_be(simulated, robot):
    end = simulated.way[0]
    for (name, ahead, left, turn), target in zip(scenes.LOOKS, simulated.targets[1:], strict=True):
        np.testing.assert_allclose(np.linalg.norm(target.camera.center - end.center), np.hypot(ahead, left), atol=1e-6)
        assert rotation_angle(end.c2w, target.camera.c2w) <= np.radians(abs(turn)) + 1e-6, name
        on_the_way = [robot.beside(scenes.LAST, share * ahead, share * left, 0) for share in np.linspace(0, 1, 5)]
        assert robot.room_left(on_the_way).min() > 0.15, name
    assert robot.room_left(simulated.path(9)).min() > 0.15


def test_the_path_leads_from_the_drive_to_a_look(simulated):
    path = simulated.path(4)
    np.testing.assert_allclose(path[0].c2w, simulated.sources[-1][1].c2w, atol=1e-9)
    assert any(np.allclose(path[-1].c2w, target.camera.c2w) for target in simulated.targets[1:])


def test_every_target_is_asked_for_once(simulated):
    asked = [index for group in simulated.requests for index in group]
    assert sorted(asked) == list(range(len(simulated.targets))) and len(simulated.titles) == len(asked)
    assert max(map(len, simulated.requests)) > 1  # the looks are made together


def test_what_is_asked_for_is_not_shown(simulated):
    hidden = {int(index) for index in simulated.camera_parameters["hold_out"].split(",")}
    assert scenes.BETWEEN in hidden and len(simulated.sources) == scenes.LAST + 1 - len(hidden)
    assert all(np.abs(camera.c2w - simulated.targets[0].camera.c2w).max() > 1e-3 for _, camera in simulated.sources)


def test_a_recorded_sequence_asks_for_left_out_frames(tmp_path):
    robot = Robot(TEST_SEED + 11, 7, 32, 24)
    views = robot.views(list(range(7)))
    scenario = recorded_scenario(write_folder(tmp_path / "room", views), 8)
    assert [target.stamp for target in scenario.targets] == [views[index].stamp for index in (1, 3, 5)]
    assert scenario.requests == [[0], [1], [2]] and scenario.least_generated == 0
    start, end = scenario.path(2)
    np.testing.assert_allclose(start.c2w, views[3].camera.c2w, atol=1e-6)
    np.testing.assert_allclose(end.c2w, views[4].camera.c2w, atol=1e-6)


def test_beside_moves_in_the_robots_axes():
    robot = Robot(TEST_SEED + 11, 3, 32, 24)
    here: Camera = robot.cameras[2]
    moved = robot.beside(2, 0.5, 0.2, np.pi / 2)
    ahead = here.forward * (1, 1, 0) / np.linalg.norm(here.forward[:2])
    left = np.cross((0, 0, 1), ahead)
    np.testing.assert_allclose(moved.center, here.center + 0.5 * ahead + 0.2 * left, atol=1e-9)
    assert moved.forward @ left == pytest.approx(np.linalg.norm(here.forward[:2]), abs=1e-9)
    assert moved.forward[2] == pytest.approx(here.forward[2], abs=1e-9)  # the camera's pitch stays
