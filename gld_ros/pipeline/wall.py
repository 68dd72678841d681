# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A made-up scene for trials and measurements: a wall of coloured blocks seen from side to side, without rendering."""

from __future__ import annotations

import cv2
import numpy as np

from gld_ros.geometry.cameras import Camera
from gld_ros.views import SourceView

DISTANCE = 2.0  # of the wall, metres
BASELINE = 0.1  # between neighbouring cameras of a request, metres
BLOCKS = 24  # of the wall in a picture's width


class Wall:
    """Random blocks, 2 m in front of cameras of one size (H, W) that stand side by side along x.

    A camera moved by d sees the picture moved by fx d / 2: exact views at any place for the price of a copy. The wall
    repeats itself after two pictures.
    """

    def __init__(self, size: tuple[int, int], seed: int = 0) -> None:
        H, W = size
        self.K = np.array([[0.8 * W, 0, W / 2], [0, 0.8 * W, H / 2], [0, 0, 1]])
        self.size = size
        block = max(1, W // BLOCKS)
        colours = np.random.default_rng(seed).integers(0, 256, (-(-H // block), -(-2 * W // block), 3), dtype=np.uint8)
        once = cv2.resize(colours, (2 * W, H), interpolation=cv2.INTER_NEAREST)
        self._pixels = np.concatenate([once, once[:, :W]], axis=1)

    def camera(self, x: float) -> Camera:
        """At x metres, looking at the wall."""
        c2w = np.eye(4)
        c2w[0, 3] = x
        return Camera(self.K, c2w, self.size[1], self.size[0])

    def view(self, x: float, stamp: int = 0) -> SourceView:
        """What that camera sees, to the nearest whole pixel."""
        W = self.size[1]
        start = round(self.K[0, 0] * x / DISTANCE) % (2 * W)
        return SourceView(np.ascontiguousarray(self._pixels[:, start : start + W]), self.camera(x), stamp)
