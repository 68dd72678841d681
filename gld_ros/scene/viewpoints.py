# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Viewpoints to ask for: at offsets from the robot, or farther along its path than it can see."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.se3 import BODY_FROM_OPTICAL, rigid

CHORD = 0.5  # metres of the path that give the direction of a view


def at_offsets(robot: np.ndarray, offsets: Sequence[float]) -> list[np.ndarray]:
    """c2w (4, 4) of cameras at `offsets` from the pose `robot` (4, 4) of a body (REP 103: x forward, y left, z up).

    offsets: x, y, z (metres) and yaw (radians, to the left) of each, one after the other. Raises InvalidRequest for
    numbers that are not finite or no multiple of four.
    """
    if not offsets or len(offsets) % 4 or not np.isfinite(offsets).all():
        raise InvalidRequest(f"offsets are {list(offsets)}, expected x, y, z and yaw of each view, finite numbers")
    return [robot @ _body(values[:3], values[3]) @ BODY_FROM_OPTICAL for values in np.reshape(offsets, (-1, 4))]


def along_path(
    path: np.ndarray, position: np.ndarray, distances: Sequence[float], height: float = 0.0
) -> list[np.ndarray]:
    """c2w (4, 4) of cameras that look along a path, `distances` metres of it ahead of where `position` (3,) is nearest.

    path: (N, 3) metres; height: metres above it, along z. There are none beyond the path's end.
    """
    path = path[np.r_[True, (np.diff(path, axis=0) != 0).any(axis=1)]] if len(path) else path
    if len(path) < 2:
        return []
    steps = np.diff(path, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    driven = np.concatenate([[0.0], np.cumsum(lengths)])

    share = np.clip(((position - path[:-1]) * steps).sum(axis=1) / lengths**2, 0, 1)
    segment = int(np.linalg.norm(path[:-1] + share[:, None] * steps - position, axis=1).argmin())
    start = driven[segment] + share[segment] * lengths[segment]

    def at(distance: float) -> np.ndarray:
        return np.array([np.interp(distance, driven, axis) for axis in path.T])

    found = []
    for distance in start + np.asarray(distances, np.float64):
        if distance <= driven[-1]:
            ahead = at(distance + CHORD / 2) - at(distance - CHORD / 2)
            pose = _body(at(distance) + (0, 0, height), math.atan2(ahead[1], ahead[0]))
            found.append(pose @ BODY_FROM_OPTICAL)
    return found


def _body(position: np.ndarray, yaw: float) -> np.ndarray:
    return rigid(Rotation.from_euler("z", yaw).as_matrix(), position)
