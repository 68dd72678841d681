# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth that a model found, checked against that of the key frames before.

A wrong depth rarely stays where it is when it is found from other pictures; this is the geometric consistency by which
multi-view stereo fuses its depth maps (Galliani et al. 2015, Gipuma; Yao et al. 2018, MVSNet).
"""

from __future__ import annotations

from collections import deque

import numpy as np

from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import project, unproject

RECENT = 4  # key frames that are compared
TOLERANCE = 0.03  # of log depth: nearer than 3 %, two key frames show the same surface


class Agreement:
    """The newest `RECENT` depth maps."""

    def __init__(self) -> None:
        self._recent: deque[tuple[np.ndarray, Camera]] = deque(maxlen=RECENT)

    def add(self, depth: np.ndarray, camera: Camera) -> None:
        """Keep the depth (H, W), metres, of a real camera."""
        self._recent.append((depth, camera))

    def count(self, depth: np.ndarray, camera: Camera) -> np.ndarray:
        """(H, W) how many of the kept maps show the surface that each pixel of `depth` (H, W), metres, shows."""
        found = np.zeros(depth.shape, np.uint8)
        points = unproject(depth, camera)
        for other, seen_by in self._recent:
            pixels, z = project(points, seen_by)
            with np.errstate(invalid="ignore"):
                inside = (z > 0) & ((pixels >= 0) & (pixels < (seen_by.width, seen_by.height))).all(axis=-1)
                u, v = pixels[inside].astype(np.int64).T
                found[inside] += np.abs(np.log(other[v, u] / z[inside])) < TOLERANCE
        return found
