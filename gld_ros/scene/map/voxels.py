# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Voxels as int64 keys, and a table of values per voxel: sorted arrays, no Python object a voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera

BITS = 21  # of a key for each axis
REACH = 1 << (BITS - 1)  # voxels to either side of the grid's origin that a key can tell apart
COLUMN, SLICE = 1 << BITS, 1 << 2 * BITS  # keys sort by x, then y, then z: a column is a run of neighbours


@dataclass(frozen=True)
class MapPoints:
    """Points of one layer in the map frame.

    xyz: (N, 3) float64 metres. rgb: (N, 3) uint8. confidence: (N,) float32, 0..1. stamp: (N,) int64 ns, of the newest
    image behind the point.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray
    stamp: np.ndarray

    @classmethod
    def none(cls) -> MapPoints:
        """No points."""
        return cls(np.empty((0, 3)), np.empty((0, 3), np.uint8), np.empty(0, np.float32), np.empty(0, int))


@dataclass(frozen=True)
class VoxelGrid:
    """Cubes of `voxel_size` metres; origin: (3,) float64, corner of voxel (0, 0, 0), metres.

    Keys reach 2^20 voxels to each side of the origin, which therefore lies near the first camera: a map frame may have
    UTM coordinates.
    """

    voxel_size: float
    origin: np.ndarray

    @classmethod
    def around(cls, position: np.ndarray, voxel_size: float) -> VoxelGrid:
        """The grid whose origin is near `position` (3,), at a whole number of voxels from the frame's own."""
        return cls(voxel_size, np.floor(position / voxel_size) * voxel_size)

    def check_reach(self, camera: Camera, distance: float) -> None:
        """Raise InvalidRequest where what lies within `distance` metres of `camera` has no keys."""
        away = float(np.abs(camera.center - self.origin).max())
        if away + 2 * distance > (REACH - 1) * self.voxel_size:
            raise InvalidRequest(
                f"the camera is {away:.0f} m from the map's origin, at most {REACH * self.voxel_size:.0f} m have "
                f"voxels of {self.voxel_size:g} m: clear the map"
            )

    def indices(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) int64 voxels of (N, 3) points."""
        return np.floor((points - self.origin) / self.voxel_size).astype(np.int64)

    def keys(self, points: np.ndarray) -> np.ndarray:
        """(N,) int64 keys of (N, 3) points."""
        return pack(self.indices(points))

    def centers(self, keys: np.ndarray) -> np.ndarray:
        """(N, 3) float64 centres in metres."""
        return (unpack(keys) + 0.5) * self.voxel_size + self.origin


def pack(indices: np.ndarray) -> np.ndarray:
    """(..., 3) voxel indices to (...) keys."""
    x, y, z = np.moveaxis(indices.astype(np.int64) + REACH, -1, 0)
    return x * SLICE + y * COLUMN + z


def unpack(keys: np.ndarray) -> np.ndarray:
    """(N,) keys to (N, 3) voxel indices."""
    return np.stack([keys // SLICE, keys // COLUMN % COLUMN, keys % COLUMN], axis=-1) - REACH


class VoxelTable:
    """Rows of a structured type with a field `stamp`, by voxel. keys: (N,) int64, sorted; rows: (N,) of `dtype`."""

    def __init__(self, dtype: np.dtype, keys: np.ndarray | None = None) -> None:
        self.keys = np.empty(0, np.int64) if keys is None else keys
        self.rows = np.empty(len(self.keys), dtype)

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M,) places of `keys` in the table, and (M,) bool which of them are there."""
        places = np.searchsorted(self.keys, keys)
        there = np.zeros(len(keys), bool)
        inside = places < len(self.keys)
        there[inside] = self.keys[places[inside]] == keys[inside]
        return places, there

    def places(self, keys: np.ndarray) -> np.ndarray:
        """(M,) places of sorted, unique `keys`; rows of zeros are made for those that were not there."""
        places, there = self.find(keys)
        if not there.all():
            self.rows = np.insert(self.rows, places[~there], np.zeros(1, self.rows.dtype))
            self.keys = np.insert(self.keys, places[~there], keys[~there])
            places += np.cumsum(~there) - ~there
        return places

    def keep(self, mask: np.ndarray) -> int:
        """Keep the rows of the (N,) bool mask; returns how many went."""
        before = len(self.keys)
        if not mask.all():
            self.keys, self.rows = self.keys[mask], self.rows[mask]
        return before - len(self.keys)

    def remove(self, keys: np.ndarray) -> int:
        """Remove those of `keys` that are there; returns how many."""
        places, there = self.find(keys)
        mask = np.ones(len(self.keys), bool)
        mask[places[there]] = False
        return self.keep(mask)

    def evict(self, limit: int) -> int:
        """Keep at most `limit` rows, those of the newest stamps; returns how many went."""
        excess = len(self.keys) - limit
        if excess <= 0:
            return 0
        mask = np.ones(len(self.keys), bool)
        mask[np.argpartition(self.rows["stamp"], excess - 1)[:excess]] = False
        return self.keep(mask)


class TableLayer:
    """A layer of a map in a `VoxelTable` with rows of the type `ROW`."""

    ROW: np.dtype

    def __init__(self, grid: VoxelGrid) -> None:
        self.grid = grid
        self._table = VoxelTable(self.ROW)

    def __len__(self) -> int:
        """Voxels held."""
        return len(self._table)

    def keep_within(self, position: np.ndarray, radius: float) -> int:
        """Forget voxels farther than `radius` metres from `position` (3,); returns how many."""
        return self._table.keep(np.linalg.norm(self.grid.centers(self._table.keys) - position, axis=1) <= radius)

    def evict(self, limit: int) -> int:
        """Keep at most `limit` voxels, those of the newest stamps; returns how many went."""
        return self._table.evict(limit)

    def table(self) -> VoxelTable:
        """All there is to save."""
        return self._table

    def restore(self, table: VoxelTable) -> None:
        """Hold what another layer's `table` held."""
        self._table = table
