# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The coordinates that a request is worked in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gld_ros.geometry.cameras import Camera


class RelativeFrame:
    """World coordinates of a request, near 0 and near 1: float32 would lose a robot's position in map coordinates.

    The origin is the first source camera's centre, the unit the mean distance between source cameras (1 where they
    coincide).
    """

    def __init__(self, cameras: Sequence[Camera]):
        centres = np.stack([c.center for c in cameras])
        pairs = [np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]]
        self.baseline = float(np.mean(pairs)) if pairs else 0.0
        self.unit = self.baseline if self.baseline > 1e-9 else 1.0
        self.origin = centres[0]

    def relative(self, c2w: np.ndarray) -> np.ndarray:
        """(4, 4) c2w in this frame."""
        pose = c2w.copy()
        pose[:3, 3] = (pose[:3, 3] - self.origin) / self.unit
        return pose
