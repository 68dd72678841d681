# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The map seen from above, for planners in the plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.scene.map.voxels import COLUMN, VoxelGrid, unpack

UNKNOWN, FREE, OCCUPIED = -1, 0, 100
MAX_CELLS = 1 << 24  # more would not fit into a message anybody wants
BLOCK = 32  # cells: a grid's sides are whole blocks, so that most changes leave its extent alone


@dataclass(frozen=True)
class OccupancyGrid:
    """data: (rows along y, columns along x) int8: -1 unknown, 0 observed free, 1..99 generated, 100 observed occupied.

    origin: (2,) x and y in metres of the corner of cell (0, 0); resolution: metres a cell.
    """

    origin: np.ndarray
    resolution: float
    data: np.ndarray


def nothing_known(resolution: float) -> OccupancyGrid:
    """One unknown cell: costmaps do not take grids without any."""
    return OccupancyGrid(np.zeros(2), resolution, np.full((1, 1), UNKNOWN, np.int8))


def occupancy_grid(
    grid: VoxelGrid,
    keys: np.ndarray,
    occupied: np.ndarray,
    generated_keys: np.ndarray,
    generated_confidence: np.ndarray,
    low: float,
    high: float,
    free_share: float = 0.5,
) -> OccupancyGrid:
    """Cells of the voxel columns between the heights `low` and `high` (metres along z of the map frame).

    A cell is 100 where an observed voxel is occupied; 0 where none is and at least `free_share` of the column's voxels
    were seen free; -1 otherwise. Generated points may raise it to 1..99, by their confidence, and lower nothing.
    keys: (N,) sorted, of observed voxels; occupied: (N,) bool; generated_keys: (M,) sorted; generated_confidence: (M,).
    The grid ends at whole blocks of `BLOCK` cells, counted from the voxels' origin.
    Raises InvalidRequest for an empty range of heights and for a grid of more than `MAX_CELLS`.
    """
    if not low < high:
        raise InvalidRequest(f"map: heights from {low:g} to {high:g} m hold nothing, expected low < high")
    first, last = (int(np.floor((h - grid.origin[2]) / grid.voxel_size)) for h in (low, np.nextafter(high, low)))

    def in_range(keys: np.ndarray) -> np.ndarray:
        z = unpack(keys)[:, 2]
        return (z >= first) & (z <= last)

    at_height, made = in_range(keys), in_range(generated_keys)
    keys, occupied = keys[at_height], occupied[at_height]
    generated_keys, generated_confidence = generated_keys[made], generated_confidence[made]
    columns = unpack(np.unique(np.concatenate([keys, generated_keys]) // COLUMN) * COLUMN)[:, :2]
    if not len(columns):
        return nothing_known(grid.voxel_size)
    corner = columns.min(axis=0) // BLOCK * BLOCK
    size = (columns.max(axis=0) // BLOCK + 1) * BLOCK - corner
    if size[0] * size[1] > MAX_CELLS:
        raise InvalidRequest(f"map: a grid of {size[0]}x{size[1]} cells is too large; give it a smaller radius")

    def cells(keys: np.ndarray) -> np.ndarray:
        x, y = (unpack(keys)[:, :2] - corner).T
        return y * size[0] + x

    count = int(size[0] * size[1])
    free = np.bincount(cells(keys[~occupied]), minlength=count)
    data = np.where(free >= max(free_share * (last - first + 1), 1), FREE, UNKNOWN).astype(np.int8)
    cost = np.clip(np.ceil(generated_confidence * (OCCUPIED - 1)), 1, OCCUPIED - 1).astype(np.int8)
    np.maximum.at(data, cells(generated_keys), cost)
    data[cells(keys[occupied])] = OCCUPIED
    return OccupancyGrid(
        corner * grid.voxel_size + grid.origin[:2], grid.voxel_size, data.reshape(int(size[1]), int(size[0]))
    )
