# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The observed layer: what cameras saw, occupied or free. Nothing that was generated comes in here."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from gld_ros.scene.map.config import MapConfig
from gld_ros.scene.map.visibility import Observation, Surface, seen_free
from gld_ros.scene.map.voxels import MapPoints, TableLayer, VoxelGrid, VoxelTable

# Log odds of "occupied", as in OctoMap: what one hit and one miss say, and how sure a voxel can get.
HIT, MISS = 0.85, -0.4
LOG_ODDS = (-2.0, 3.5)
MAX_WEIGHT = 64.0  # of the mean colour and position, so that they follow a changing light

ROW = np.dtype(
    [("log_odds", "f4"), ("weight", "f4"), ("offset", "f4", 3), ("rgb", "f4", 3), ("confidence", "f4")]
    + [("stamp", "i8")]
)


class ObservedLayer(Protocol):
    """A backend of the observed layer. Keys are those of `grid`."""

    ROW: np.dtype
    name: str
    grid: VoxelGrid

    def __init__(self, grid: VoxelGrid, config: MapConfig) -> None: ...

    def __len__(self) -> int:
        """Voxels held."""

    def integrate(self, seen: Observation) -> np.ndarray:
        """Take what a camera saw; returns the sorted keys of the voxels it says something of."""

    def known(self, keys: np.ndarray) -> np.ndarray:
        """(N,) bool: which of the (N,) keys were observed, occupied or free."""

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) sorted keys of all observed voxels, and (N,) bool: occupied, otherwise free."""

    def points(self) -> MapPoints:
        """The surfaces."""

    def keep_within(self, position: np.ndarray, radius: float) -> int:
        """Forget voxels farther than `radius` metres from `position` (3,); returns how many."""

    def evict(self, limit: int) -> int:
        """Keep about `limit` voxels at most, those seen last; returns how many went."""

    def table(self) -> VoxelTable:
        """All there is to save, with rows of the type `ROW`."""

    def restore(self, table: VoxelTable) -> None:
        """Hold what another layer's `table` held."""


class HashLayer(TableLayer):
    """Log odds, mean colour and mean surface point a voxel, in numpy."""

    ROW = ROW
    name = "voxel_hash"

    def __init__(self, grid: VoxelGrid, config: MapConfig) -> None:
        super().__init__(grid)

    def integrate(self, seen: Observation) -> np.ndarray:
        points = seen.surface()
        hit, group = np.unique(self.grid.keys(points.xyz), return_inverse=True)
        free = np.setdiff1d(seen_free(seen.free, seen.camera, self.grid), hit, assume_unique=True)
        self._hit(hit, group, points, seen.stamp)
        self._miss(free, seen.stamp)
        return np.sort(np.concatenate([hit, free]))

    def _hit(self, keys: np.ndarray, group: np.ndarray, points: Surface, stamp: int) -> None:
        """Voxels `keys` hold surface points: point i lies in keys[group[i]]."""

        def mean(values: np.ndarray) -> np.ndarray:
            sums = [np.bincount(group, points.confidence * values[:, i], len(keys)) for i in range(values.shape[1])]
            return np.stack(sums, axis=1) / np.maximum(total, 1e-9)[:, None]

        total = np.bincount(group, points.confidence, len(keys))
        places = self._table.places(keys)
        rows = self._table.rows[places]
        share = (total / np.maximum(rows["weight"] + total, 1e-9))[:, None]
        rows["offset"] += share * (mean(points.xyz - self.grid.centers(keys)[group]) - rows["offset"])
        rows["rgb"] += share * (mean(points.rgb) - rows["rgb"])
        rows["weight"] = np.minimum(rows["weight"] + total, MAX_WEIGHT)
        best = np.zeros(len(keys), np.float32)
        np.maximum.at(best, group, points.confidence)
        rows["confidence"] = np.maximum(rows["confidence"], best)
        # One hit is an obstacle, whatever was free before; one miss is not yet free space.
        rows["log_odds"] = np.clip(np.maximum(rows["log_odds"], 0) + HIT * best, *LOG_ODDS)
        rows["stamp"] = np.maximum(rows["stamp"], stamp)
        self._table.rows[places] = rows

    def _miss(self, keys: np.ndarray, stamp: int) -> None:
        """Rays went through voxels `keys`."""
        places = self._table.places(keys)
        rows = self._table.rows
        rows["log_odds"][places] = np.clip(rows["log_odds"][places] + MISS, *LOG_ODDS)
        rows["stamp"][places] = np.maximum(rows["stamp"][places], stamp)

    def known(self, keys: np.ndarray) -> np.ndarray:
        return self._table.find(keys)[1]

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        return self._table.keys, self._table.rows["log_odds"] > 0

    def points(self) -> MapPoints:
        occupied = self._table.rows["log_odds"] > 0
        rows = self._table.rows[occupied]
        xyz = self.grid.centers(self._table.keys[occupied]) + rows["offset"]
        return MapPoints(xyz, np.rint(rows["rgb"]).astype(np.uint8), rows["confidence"].copy(), rows["stamp"].copy())
