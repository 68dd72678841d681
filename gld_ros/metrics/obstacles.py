# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Obstacles of an occupancy grid against those of another."""

from __future__ import annotations

import cv2
import numpy as np

from gld_ros.scene.map.occupancy import FREE, OCCUPIED, UNKNOWN, OccupancyGrid


def obstacle_errors(grid: OccupancyGrid, real: OccupancyGrid, factor: int = 1) -> dict[str, float | int | None]:
    """How well `grid` shows the obstacles of `real`, cell by cell. Both have the same cells. None: nothing to count.

    recall: share of the real obstacles that are marked. false_marks: share of the marks that lie where the real grid is
    free; marks where it knows nothing (`unjudged`, their number) are not counted. false_marks_far: the same of marks
    with no real obstacle in the eight cells around. wrongly_cleared: share of the real obstacles that are said to be
    free. factor: cells of factor x factor are compared.
    Numbers of cells: obstacles, real_free (of the real grid), marks, free (of this one).
    """
    found, truth = on_same_cells(grid, real)
    if factor > 1:
        found, truth = coarsened(found, factor, 0.5), coarsened(truth, factor, 0.0)
    obstacles, marks, cleared = truth == OCCUPIED, found == OCCUPIED, found == FREE
    around = cv2.dilate(obstacles.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    judged, false = marks & (truth != UNKNOWN), marks & (truth == FREE)

    def share(part: np.ndarray, whole: np.ndarray) -> float | None:
        return float(part.sum() / whole.sum()) if whole.any() else None

    return {
        "recall": share(marks & obstacles, obstacles),
        "false_marks": share(false, judged),
        "false_marks_far": share(false & ~around, judged),
        "wrongly_cleared": share(cleared & obstacles, obstacles),
        "obstacles": int(obstacles.sum()),
        "real_free": int((truth == FREE).sum()),
        "marks": int(marks.sum()),
        "unjudged": int((marks & (truth == UNKNOWN)).sum()),
        "free": int(cleared.sum()),
    }


def coarsened(cells: np.ndarray, factor: int, free_share: float) -> np.ndarray:
    """Cells (H, W) of an occupancy grid as (h, w) of `factor` x `factor`, with unknown ones beyond the edge.

    Occupied is what has one that is; free what has none and of which `free_share`, and at least one, are free.
    """
    cells = np.pad(cells, [(0, -size % factor) for size in cells.shape], constant_values=UNKNOWN)
    fine = cells.reshape(cells.shape[0] // factor, factor, -1, factor)
    free = (fine == FREE).mean(axis=(1, 3)) >= max(free_share, 1 / factor**2)
    return np.where((fine == OCCUPIED).any(axis=(1, 3)), OCCUPIED, np.where(free, FREE, UNKNOWN)).astype(np.int8)


def on_same_cells(a: OccupancyGrid, b: OccupancyGrid) -> tuple[np.ndarray, np.ndarray]:
    """The cells (H, W) of both grids over the extent of both, unknown where a grid has none.

    Raises ValueError for grids whose cells do not coincide.
    """
    corner = np.minimum(a.origin, b.origin)
    starts = [(grid.origin - corner) / a.resolution for grid in (a, b)]
    if a.resolution != b.resolution or any(np.abs(start - start.round()).max() > 1e-6 for start in starts):
        raise ValueError(f"cells of {a.resolution} m at {a.origin} and of {b.resolution} m at {b.origin} differ")
    places = [start.round().astype(int) for start in starts]
    size = np.max([place + grid.data.shape[::-1] for place, grid in zip(places, (a, b), strict=True)], axis=0)
    wholes = []
    for (x, y), grid in zip(places, (a, b), strict=True):
        whole = np.full(size[::-1], UNKNOWN, np.int8)
        whole[y : y + grid.data.shape[0], x : x + grid.data.shape[1]] = grid.data
        wholes.append(whole)
    return wholes[0], wholes[1]
