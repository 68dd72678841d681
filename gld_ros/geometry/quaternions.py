# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Quaternions x, y, z, w (as in ROS) and motion between two poses."""

from __future__ import annotations

import numpy as np

from gld_ros.errors import InvalidRequest


def to_matrix(quaternion: np.ndarray, name: str = "quaternion") -> np.ndarray:
    """(3, 3) rotation of a quaternion (4,) of any norm but 0. Raises InvalidRequest for NaN or a norm of 0."""
    quaternion = np.asarray(quaternion, dtype=np.float64)
    norm = np.linalg.norm(quaternion)
    if not np.isfinite(norm) or norm < 1e-9:
        raise InvalidRequest(
            f"{name}: quaternion {quaternion.tolist()} has no direction, a unit quaternion is expected"
        )
    x, y, z, w = quaternion / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def from_matrix(rotation: np.ndarray) -> np.ndarray:
    """(4,) unit quaternion with w >= 0 of a rotation (3, 3): the main eigenvector of Bar-Itzhack's symmetric matrix."""
    (a, b, c), (d, e, f), (g, h, i) = np.asarray(rotation, dtype=np.float64)
    symmetric = np.array(
        [
            [a - e - i, d + b, g + c, h - f],
            [d + b, e - a - i, h + f, c - g],
            [g + c, h + f, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    quaternion = np.linalg.eigh(symmetric)[1][:, -1]
    return quaternion if quaternion[3] >= 0 else -quaternion


def interpolate(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """(4, 4) pose on the way between two poses: straight line and constant turn, as TF does; share 0..1."""
    a, b = from_matrix(start[:3, :3]), from_matrix(end[:3, :3])
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-9:
        weights = 1 - share, share
    else:
        weights = np.sin((1 - share) * angle) / np.sin(angle), np.sin(share * angle) / np.sin(angle)
    pose = np.eye(4)
    pose[:3, :3] = to_matrix(weights[0] * a + weights[1] * b)
    pose[:3, 3] = (1 - share) * start[:3, 3] + share * end[:3, 3]
    return pose
