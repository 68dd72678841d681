# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid motions as (4, 4) matrices; quaternions are x, y, z, w as in ROS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from gld_ros.errors import InvalidRequest

#: Body axes (x forward, y left, z up) from optical axes (z forward, x right, y down), REP 103.
BODY_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def rigid(rotation: np.ndarray, translation: np.ndarray | Sequence[float]) -> np.ndarray:
    """(4, 4) matrix of a rotation (3, 3) and a translation (3,)."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, translation
    return pose


def invert(pose: np.ndarray) -> np.ndarray:
    """Inverse of rigid (..., 4, 4) matrices."""
    inverse = np.zeros_like(pose)
    rotation_t = np.swapaxes(pose[..., :3, :3], -1, -2)
    inverse[..., :3, :3] = rotation_t
    inverse[..., :3, 3] = -(rotation_t @ pose[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1
    return inverse


def check_rigid(pose: np.ndarray, name: str = "pose", tolerance: float = 1e-3) -> None:
    """Raise InvalidRequest unless `pose` (4, 4) is a finite, right-handed rotation and a translation."""
    if not np.isfinite(pose).all():
        raise InvalidRequest(f"{name}: pose holds NaN or infinite numbers")
    if not np.allclose(pose[3], (0, 0, 0, 1)):
        raise InvalidRequest(f"{name}: the last row of the pose is {pose[3].tolist()}, expected [0, 0, 0, 1]")
    rotation = pose[:3, :3]
    if np.linalg.det(rotation) < 0:
        raise InvalidRequest(f"{name}: left-handed pose (determinant < 0), expected a rotation")
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if error > tolerance:
        raise InvalidRequest(f"{name}: pose is not rigid (|R R^T - I| = {error:.2g}), expected a rotation matrix")


def look_at(eye: np.ndarray, target: np.ndarray, up: Sequence[float] = (0.0, 0.0, 1.0)) -> np.ndarray:
    """(4, 4) c2w in OpenCV axes of a camera at `eye` (3,) looking at `target` (3,); `up` (3,) in the world."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return rigid(np.stack([right, np.cross(forward, right), forward], axis=1), eye)


def rotation_angle(a: np.ndarray, b: np.ndarray) -> float:
    """Angle in radians between the rotations of two (4, 4) poses."""
    cosine = (np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2
    return float(np.arccos(np.clip(cosine, -1, 1)))


def matrix_from_quaternion(quaternion: np.ndarray, name: str = "quaternion") -> np.ndarray:
    """(3, 3) rotation of a quaternion (4,) of any norm but 0. Raises InvalidRequest for NaN or a norm of 0."""
    quaternion = np.asarray(quaternion, dtype=np.float64)
    norm = np.linalg.norm(quaternion)
    if not np.isfinite(norm) or norm < 1e-9:
        raise InvalidRequest(
            f"{name}: quaternion {quaternion.tolist()} has no direction, a unit quaternion is expected"
        )
    return Rotation.from_quat(quaternion).as_matrix()


def pose_from_quaternion(
    position: Sequence[float] | np.ndarray, quaternion: Sequence[float] | np.ndarray, name: str = "pose"
) -> np.ndarray:
    """(4, 4) pose of a position (3,) and a quaternion (4,). Raises InvalidRequest as `matrix_from_quaternion`."""
    return rigid(matrix_from_quaternion(np.asarray(quaternion), name), position)


def quaternion_from_matrix(rotation: np.ndarray) -> np.ndarray:
    """(4,) unit quaternion with w >= 0 of a rotation (3, 3)."""
    return Rotation.from_matrix(rotation).as_quat(canonical=True)


def interpolate_pose(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """(4, 4) pose on the way between two poses: straight line and constant turn, as TF does; share 0..1."""
    turn = Slerp([0, 1], Rotation.from_matrix(np.stack([start[:3, :3], end[:3, :3]])))
    return rigid(turn(share).as_matrix(), (1 - share) * start[:3, 3] + share * end[:3, 3])
