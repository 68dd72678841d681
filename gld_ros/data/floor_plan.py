# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a room that is being furnished: walls to stand along, places that are taken."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gld_ros.data.furniture import Piece
from gld_ros.data.materials import Rng

#: Boxes a furnished room has; those it does not need lie hidden below the floor.
BOXES = 30
HIDDEN = np.array([0.0, 0.0, -50.0, 0.01, 0.01, 0.01, 0.0])


@dataclass(frozen=True)
class Wall:
    """A wall that things can stand along: the plane x[axis] = at, seen from the side that `facing` (+1, -1) points to.

    low, high: where it begins and ends along the other horizontal axis, metres. taken: what hangs there already.
    """

    axis: int
    at: float
    facing: int
    low: float
    high: float
    taken: list[tuple[float, float]] = field(default_factory=list)

    def box(self, along: float, local: np.ndarray) -> np.ndarray:
        """The box (7,) in the room of a local one (6,): x along the wall from `along`, y away from it."""
        box = np.zeros(7)
        box[1 - self.axis], box[4 - self.axis] = along + local[0], local[3]
        box[self.axis], box[3 + self.axis] = self.at + self.facing * local[1], local[4]
        box[2], box[5] = local[2], local[5]
        return box

    def gap(self, rng: Rng, width: float) -> float | None:
        """The middle of a free place of this width, which is then taken; None if none was found."""
        if self.high - self.low < width + 0.1:
            return None
        for middle in rng.uniform(self.low + width / 2 + 0.05, self.high - width / 2 - 0.05, 6):
            if all(middle + width / 2 < low or middle - width / 2 > high for low, high in self.taken):
                self.taken.append((middle - width / 2, middle + width / 2))
                return float(middle)
        return None


class Plan:
    """The things that have been put into a room so far."""

    def __init__(self, rng: Rng, size: np.ndarray):
        self.rng, self.size = rng, size
        self.boxes: list[np.ndarray] = []
        self.surfaces: list[np.ndarray] = []
        self.footprints: list[np.ndarray] = []  # (low x, low y, high x, high y) of what stands on the floor
        self.passages: list[np.ndarray] = []
        self.parts = [np.array([0.0, 0.0, size[0], size[1]])]
        self.walls = [Wall(a, at, f, 0.0, size[1 - a]) for a in (0, 1) for at, f in ((0.0, 1), (size[a], -1))]

    def add(self, box: np.ndarray, surface: np.ndarray) -> None:
        if len(self.boxes) < BOXES:
            self.boxes.append(box)
            self.surfaces.append(surface)

    def is_free(self, footprint: np.ndarray) -> bool:
        inside = (footprint[:2] >= -1e-6).all() and (footprint[2:] <= self.size[:2] + 1e-6).all()
        return bool(inside) and all(
            (footprint[2:] <= other[:2]).any() or (footprint[:2] >= other[2:]).any() for other in self.footprints
        )

    def put(self, piece: Piece, boxes: np.ndarray) -> bool:
        """Put a piece where its boxes (N, 7) in the room say, if that place is free and it fits into the count."""
        reach = np.linalg.norm(boxes[:, 3:5], axis=1)[:, None] if boxes[0, 6] else boxes[:, 3:5]
        low, high = (boxes[:, :2] - reach).min(axis=0), (boxes[:, :2] + reach).max(axis=0)
        footprint = np.concatenate([low, high])
        if len(self.boxes) + len(boxes) > BOXES or not self.is_free(footprint):
            return False
        for box, surface in zip(boxes, piece.surfaces, strict=True):
            self.add(box, surface)
        self.footprints.append(footprint + [-0.03, -0.03, 0.03, 0.03])
        return True
