# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Quaternions x, y, z, w (as in ROS) and motion between two poses."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from gld_ros.errors import InvalidRequest


def to_matrix(quaternion: np.ndarray, name: str = "quaternion") -> np.ndarray:
    """(3, 3) rotation of a quaternion (4,) of any norm but 0. Raises InvalidRequest for NaN or a norm of 0."""
    quaternion = np.asarray(quaternion, dtype=np.float64)
    norm = np.linalg.norm(quaternion)
    if not np.isfinite(norm) or norm < 1e-9:
        raise InvalidRequest(
            f"{name}: quaternion {quaternion.tolist()} has no direction, a unit quaternion is expected"
        )
    return Rotation.from_quat(quaternion).as_matrix()


def from_matrix(rotation: np.ndarray) -> np.ndarray:
    """(4,) unit quaternion with w >= 0 of a rotation (3, 3)."""
    return Rotation.from_matrix(rotation).as_quat(canonical=True)


def interpolate(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """(4, 4) pose on the way between two poses: straight line and constant turn, as TF does; share 0..1."""
    pose = np.eye(4)
    turn = Rotation.from_matrix(start[:3, :3].T @ end[:3, :3]).as_rotvec()
    pose[:3, :3] = start[:3, :3] @ Rotation.from_rotvec(share * turn).as_matrix()
    pose[:3, 3] = (1 - share) * start[:3, 3] + share * end[:3, 3]
    return pose
