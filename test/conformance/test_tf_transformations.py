# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the package expects of tf_transformations, of a ROS distribution or of pip_ros/."""

import math

import numpy as np
import pytest
import tf_transformations as tft
from scipy.spatial.transform import Rotation

ROTATIONS = Rotation.random(20, random_state=0)


def same(a, b):
    """Equal as rotations: q and -q are the same."""
    return min(np.abs(np.subtract(a, b)).max(), np.abs(np.add(a, b)).max()) < 1e-6


@pytest.mark.parametrize("rotation", list(ROTATIONS))
def test_matrix_there_and_back(rotation):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.as_matrix()
    assert same(tft.quaternion_from_matrix(matrix), rotation.as_quat())
    np.testing.assert_allclose(tft.quaternion_matrix(rotation.as_quat()), matrix, atol=1e-6)


def test_quaternions_are_xyzw():
    np.testing.assert_allclose(tft.quaternion_from_matrix(np.eye(4)), [0, 0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(tft.quaternion_from_euler(0, 0, math.pi / 2), [0, 0, 0.5**0.5, 0.5**0.5], atol=1e-6)


def test_euler_is_roll_pitch_yaw_about_fixed_axes():
    quaternion = tft.quaternion_from_euler(0.1, -0.2, 0.3)
    assert same(quaternion, Rotation.from_euler("xyz", [0.1, -0.2, 0.3]).as_quat())
    np.testing.assert_allclose(tft.euler_from_quaternion(quaternion), [0.1, -0.2, 0.3], atol=1e-6)


def test_product_and_inverse():
    a, b = ROTATIONS[0], ROTATIONS[1]
    assert same(tft.quaternion_multiply(a.as_quat(), b.as_quat()), (a * b).as_quat())
    assert same(tft.quaternion_inverse(a.as_quat()), a.inv().as_quat())


def test_a_quaternion_of_another_norm():
    np.testing.assert_allclose(tft.quaternion_matrix([0, 0, 3, 3]), tft.quaternion_matrix([0, 0, 0.5**0.5, 0.5**0.5]))
