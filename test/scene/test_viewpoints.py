# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where continuous mode looks from."""

import numpy as np
import pytest

from gld_ros.errors import InvalidRequest
from gld_ros.scene.viewpoints import along_path, at_offsets

CORNER = np.array([[0.0, 0, 0], [4, 0, 0], [4, 6, 0]])


def test_offsets_are_those_of_the_robots_body():
    robot = np.eye(4)
    robot[:2, :2] = [[0, -1], [1, 0]]  # it looks along the map's y axis
    robot[:3, 3] = (10, 20, 1)
    ahead, left = at_offsets(robot, [2.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0, np.pi / 2])
    np.testing.assert_allclose(ahead[:3, 3], (10, 22, 1.5), atol=1e-12)
    np.testing.assert_allclose(ahead[:3, 2], (0, 1, 0), atol=1e-12)  # z of a camera is forward
    np.testing.assert_allclose(ahead[:3, 1], (0, 0, -1), atol=1e-12)  # and y is down
    np.testing.assert_allclose(left[:3, 3], (9, 20, 1), atol=1e-12)
    np.testing.assert_allclose(left[:3, 2], (-1, 0, 0), atol=1e-12)


@pytest.mark.parametrize("offsets", [[], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0, np.nan]])
def test_offsets_that_cannot_be(offsets):
    with pytest.raises(InvalidRequest, match="x, y, z and yaw"):
        at_offsets(np.eye(4), offsets)


def test_the_view_around_the_corner():
    before, behind = along_path(CORNER, np.array([1.0, 0.3, 0.0]), [2.0, 5.0], height=0.7)
    np.testing.assert_allclose(before[:3, 3], (3, 0, 0.7))
    np.testing.assert_allclose(before[:3, 2], (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(behind[:3, 3], (4, 2, 0.7))
    np.testing.assert_allclose(behind[:3, 2], (0, 1, 0), atol=1e-12)
    (at_the_corner,) = along_path(CORNER, np.zeros(3), [4.0])
    np.testing.assert_allclose(at_the_corner[:3, 2], np.array([1, 1, 0]) / np.sqrt(2), atol=1e-12)


def test_there_is_nothing_beyond_the_end_of_a_path():
    assert len(along_path(CORNER, np.array([4.0, 5.0, 0.0]), [0.5, 1.5])) == 1
    for path in (CORNER[:0], CORNER[:1], CORNER[[0, 0, 0]]):
        assert along_path(path, np.zeros(3), [0.0]) == []
    (view,) = along_path(CORNER[[0, 0, 1, 1, 2]], np.zeros(3), [1.0])  # repeated points
    np.testing.assert_allclose(view[:3, 3], (1, 0, 0))
