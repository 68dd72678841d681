# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the page draws in 3D: points by their provenance, frusta, the map's grid, and where to look from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OBSERVED = np.array([80, 215, 135], float)  # colours near those of the frusta: sources green, requests orange
GENERATED = np.array([255, 135, 35], float)
FREE, OCCUPIED = (235, 235, 235), (40, 45, 50)  # cells of the grid


@dataclass(frozen=True)
class Cloud:
    """points (N, 3) float32 metres in the map frame, colours (N, 3) uint8, generated (N,) bool."""

    points: np.ndarray
    colours: np.ndarray
    generated: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def thinned(self, limit: int) -> Cloud:
        """At most `limit` points of it, evenly chosen."""
        step = -(-len(self.points) // limit)
        every = slice(None, None, max(step, 1))
        return Cloud(self.points[every], self.colours[every], self.generated[every])

    def part(self, generated: bool) -> Cloud:
        """The generated or the observed points."""
        chosen = self.generated == generated
        return Cloud(self.points[chosen], self.colours[chosen], self.generated[chosen])


@dataclass(frozen=True)
class Frusta:
    """A group of cameras as lines. name: "sources" or "requests"; lines (N, 2, 3) metres; colour: RGB, 0..255.

    A frustum's first line starts at the camera's centre.
    """

    name: str
    lines: np.ndarray
    colour: tuple[int, int, int]


def by_provenance(colours: np.ndarray, generated: np.ndarray, brightness: float = 1.0) -> np.ndarray:
    """(..., 3) uint8: what was observed green, what was generated orange, as bright as `colours` (..., 3) uint8.

    brightness: 0..1, of it all.
    """
    tint = np.where(generated[..., None], GENERATED, OBSERVED)
    own = colours.mean(axis=-1, keepdims=True) / 255
    return (brightness * tint * (0.55 + 0.45 * own)).astype(np.uint8)


def floor_plan(data: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 RGBA of the cells (H, W) of an `OccupancyGrid`.

    Observed cells are light or dark, generated ones orange, the less transparent the more they cost; unknown ones are
    not to be seen.
    """
    cost = data[..., None] / 100
    picture = np.empty((*data.shape, 4), np.uint8)
    generated = (cost > 0) & (cost < 1)
    picture[..., :3] = np.where(generated, GENERATED, np.where(cost == 1, OCCUPIED, FREE))
    picture[..., 3:] = np.select([cost < 0, generated], [0, 60 + 150 * cost], 255)
    return picture


def viewpoint(points: np.ndarray, cameras: Sequence[Frusta]) -> tuple[np.ndarray, np.ndarray]:
    """Position to look from, and point to look at, (3,) metres, that show the cloud `points` (N, 3), N > 0.

    Behind and above the first camera asked for, as the cloud is open towards it; without one, from outside.
    """
    centre = np.median(points, axis=0).astype(float)
    asked = [group for group in cameras if group.name == "requests" and len(group.lines)]
    if asked:
        eye = asked[0].lines[0, 0].astype(float)
    else:
        eye = centre - np.array([1.0, 1.0, 0.0]) * np.linalg.norm(np.ptp(points, axis=0)) / 2
    distance = float(np.linalg.norm(centre - eye))
    return eye - 0.6 * (centre - eye) + np.array([0, 0, 0.5 * distance]), centre
