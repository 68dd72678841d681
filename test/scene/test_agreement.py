# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a model found marks and clears once other key frames show the same; what a sensor measured does at once."""

import numpy as np
import pytest

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.se3 import look_at
from gld_ros.scene.map.config import MapConfig
from gld_ros.scene.map.voxel_map import VoxelMap

WIDTH, HEIGHT = 64, 48
WALL = 2.0  # metres along x


def camera(y):
    return Camera(intrinsics(60, 60, 32, 24), look_at(np.array([0.0, y, 0.8]), np.array([5.0, y, 0.8])), WIDTH, HEIGHT)


def take(made, y, depth=WALL, **options):
    image, sure = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.ones((HEIGHT, WIDTH), np.float32)
    made.integrate_observed(np.full((HEIGHT, WIDTH), depth, np.float32), image, sure, camera(y), **options)


def marks(made):
    """x of the obstacles, metres."""
    return np.round(np.unique(made.points("observed").xyz[:, 0]), 2).tolist()


def test_a_surface_waits_for_two_others_that_show_it():
    made = VoxelMap()
    for y in (0.0, 0.1):
        take(made, y)
        assert not made.points("observed").xyz.size and made.sizes()["observed"] == 0
    take(made, 0.2)
    assert marks(made) == [WALL]


def test_a_depth_that_no_other_shows_neither_marks_nor_clears():
    made = VoxelMap(MapConfig(free_margin=0.0))
    for y in (0.0, 0.1, 0.2):
        take(made, y)
    for y in (0.3, 0.4):
        take(made, y, 0.9 * WALL if y == 0.3 else 1.5 * WALL)
    assert marks(made) == [WALL]
    take(made, 0.5)
    assert marks(made) == [WALL]


def test_a_sensor_marks_at_once_where_it_measured():
    made = VoxelMap()
    left = np.arange(WIDTH)[None] < np.full((HEIGHT, 1), WIDTH // 2)
    take(made, 0.0, measured=left)
    assert marks(made) == [WALL] and (made.points("observed").xyz[:, 1] > -0.1).all()  # y is to the left


def test_what_was_cleared_confirms_nothing_and_zero_asks_for_nothing():
    made = VoxelMap()
    for y in (0.0, 0.1):
        take(made, y)
    made.clear()
    take(made, 0.2)
    assert made.sizes()["observed"] == 0
    at_once = VoxelMap(MapConfig(confirmations=0))
    take(at_once, 0.0)
    assert marks(at_once) == [WALL]
    with pytest.raises(InvalidRequest, match="confirmations is 5, expected 0 to 4"):
        MapConfig(confirmations=5)
