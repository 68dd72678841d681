# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-in for ROS 2's tf_transformations: quaternions are x, y, z, w, matrices 4 x 4, angles in radians.

Like the original it wraps transforms3d, whose quaternions are w, x, y, z.
The behaviour of each function is stated by test/conformance/test_tf_transformations.py.
"""

import numpy as np
from transforms3d import euler, quaternions

__all__ = [
    "euler_from_quaternion",
    "quaternion_from_euler",
    "quaternion_from_matrix",
    "quaternion_inverse",
    "quaternion_matrix",
    "quaternion_multiply",
]


def _wxyz(quaternion: np.ndarray) -> np.ndarray:
    return np.roll(np.asarray(quaternion, dtype=np.float64), 1)


def _xyzw(quaternion: np.ndarray) -> np.ndarray:
    return np.roll(quaternion, -1)


def quaternion_from_euler(ai: float, aj: float, ak: float, axes: str = "sxyz") -> np.ndarray:
    """(4,) of three rotations; the default axes are roll, pitch, yaw about the fixed x, y, z."""
    return _xyzw(euler.euler2quat(ai, aj, ak, axes=axes))


def euler_from_quaternion(quaternion: np.ndarray, axes: str = "sxyz") -> tuple[float, float, float]:
    """The three angles of a quaternion."""
    return euler.quat2euler(_wxyz(quaternion), axes=axes)


def quaternion_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """(4,) of the rotation in a (4, 4) matrix."""
    return _xyzw(quaternions.mat2quat(np.asarray(matrix)[:3, :3]))


def quaternion_matrix(quaternion: np.ndarray) -> np.ndarray:
    """(4, 4) of a quaternion, which need not be of norm 1."""
    matrix = np.identity(4)
    matrix[:3, :3] = quaternions.quat2mat(_wxyz(quaternion))
    return matrix


def quaternion_multiply(quaternion1: np.ndarray, quaternion0: np.ndarray) -> np.ndarray:
    """(4,) of the rotation by `quaternion0`, then by `quaternion1`."""
    return _xyzw(quaternions.qmult(_wxyz(quaternion1), _wxyz(quaternion0)))


def quaternion_inverse(quaternion: np.ndarray) -> np.ndarray:
    """(4,) of the rotation back."""
    return _xyzw(quaternions.qinverse(_wxyz(quaternion)))
