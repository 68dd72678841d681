# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The ground of a scene, where the poses' frame does not say which way is up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import rigid

TRIES = 1000  # planes through three points
NEAR, BELOW = 0.03, 0.1  # metres: what lies on a plane; what lies so far below it speaks against it
TILT = 0.866  # cosine of the largest angle to the cameras' mean up direction


def ground_frame(points: np.ndarray, cameras: Sequence[Camera], seed: int = 0) -> tuple[np.ndarray, float]:
    """(4, 4) transform into a frame of REP 105 (z up, the ground at z = 0), and the share of the points on the ground.

    points: (N, 3) metres. The ground is the plane with most points on it, less those below it, among planes within 30
    degrees of level as the cameras are held (RANSAC, Fischler and Bolles 1981; then least squares). The origin is
    below the first camera. Raises InvalidRequest where there is no such plane.
    """
    points = points[np.isfinite(points).all(axis=1)]
    up = -np.mean([camera.c2w[:3, 1] for camera in cameras], axis=0)
    up /= np.linalg.norm(up)
    if len(points) < 3:
        raise InvalidRequest(f"no ground in {len(points)} points: at least 3 are expected")
    corners = points[np.random.default_rng(seed).integers(0, len(points), (TRIES, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    corners, normals = corners[lengths > 1e-6, 0], normals[lengths > 1e-6] / lengths[lengths > 1e-6, None]
    normals *= np.sign(normals @ up)[:, None]
    best: tuple[float, np.ndarray, float] | None = None
    for normal, corner in zip(normals, corners, strict=True):
        if normal @ up >= TILT:
            above = (points - corner) @ normal
            score = float(np.mean(np.abs(above) < NEAR) - np.mean(above < -BELOW))
            if best is None or score > best[0]:
                best = score, normal, float(corner @ normal)
    if best is None:
        raise InvalidRequest(f"no ground in {len(points)} points: no plane is level as the cameras are held")
    _, normal, height = best
    on = points[np.abs(points @ normal - height) < NEAR]
    centre = on.mean(axis=0)
    fitted = np.linalg.svd(on - centre, full_matrices=False)[2][2]
    fitted *= np.sign(fitted @ normal)
    origin = cameras[0].center - ((cameras[0].center - centre) @ fitted) * fitted
    x = cameras[0].forward - (cameras[0].forward @ fitted) * fitted
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(fitted, x), fitted])
    return rigid(rotation, -rotation @ origin), float(np.mean(np.abs((points - centre) @ fitted) < NEAR))
