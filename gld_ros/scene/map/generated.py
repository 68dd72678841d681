# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The generated layer: points the model made up, each with confidence and stamp, until something is observed there."""

from __future__ import annotations

import numpy as np

from gld_ros.scene.map.visibility import Surface
from gld_ros.scene.map.voxels import MapPoints, TableLayer, VoxelGrid

ROW = np.dtype([("offset", "f4", 3), ("rgb", "u1", 3), ("confidence", "f4"), ("stamp", "i8")])


class GeneratedLayer(TableLayer):
    """At most one point a voxel. There is no free space here: a generated view has nothing to clear.

    lifetime: seconds. A point's confidence fades linearly with the distance of its stamp from `now` (ns); at `lifetime`
    it is forgotten.
    """

    ROW = ROW

    def __init__(self, grid: VoxelGrid, lifetime: float) -> None:
        super().__init__(grid)
        self.lifetime, self.now = lifetime, 0

    @property
    def keys(self) -> np.ndarray:
        """(N,) sorted int64 keys of the voxels that hold a point."""
        return self._table.keys

    def confidence(self) -> np.ndarray:
        """(N,) float32 faded confidence, in the order of `keys`."""
        return self._faded(self._table.rows["confidence"], self._table.rows["stamp"])

    def integrate(self, points: Surface, stamp: int) -> None:
        """Add points of a view whose newest source has that stamp (ns).

        The most confident point of a voxel stays: a generated view only ever adds.
        """
        order = np.argsort(-points.confidence, kind="stable")
        keys, first = np.unique(self.grid.keys(points.xyz[order]), return_index=True)
        first = order[first]
        places = self._table.places(keys)
        rows = self._table.rows[places]
        better = self._faded(points.confidence[first], stamp) > self._faded(rows["confidence"], rows["stamp"])
        new = rows[better]
        first = first[better]
        new["offset"] = points.xyz[first] - self.grid.centers(keys[better])
        new["rgb"], new["confidence"], new["stamp"] = points.rgb[first], points.confidence[first], stamp
        self._table.rows[places[better]] = new
        self.expire()

    def remove(self, keys: np.ndarray) -> int:
        """Forget what lies in voxels `keys`; returns how many points."""
        return self._table.remove(keys)

    def points(self) -> MapPoints:
        rows = self._table.rows
        xyz = self.grid.centers(self._table.keys) + rows["offset"]
        return MapPoints(xyz, rows["rgb"].copy(), self.confidence(), rows["stamp"].copy())

    def expire(self) -> int:
        """Forget points that have faded away; returns how many."""
        return self._table.keep(self.confidence() > 0)

    def _faded(self, confidence: np.ndarray, stamp: np.ndarray | int) -> np.ndarray:
        # |age|: what a clock that jumped back left behind in the future expires as well.
        age = np.abs(self.now - np.asarray(stamp, np.int64)) * 1e-9
        return (confidence * np.clip(1 - age / self.lifetime, 0, 1)).astype(np.float32)
