# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Updates of a grid that changes: all of it, or the rectangle that changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.scene.map.occupancy import OccupancyGrid

REFRESH = 5.0  # seconds after the first rectangle in which the whole grid goes out again


@dataclass(frozen=True)
class Rectangle:
    """Cells of a grid. x, y: column and row of the first one; width, height: columns and rows."""

    x: int
    y: int
    width: int
    height: int

    def __or__(self, other: Rectangle | None) -> Rectangle:
        """The smallest that holds both."""
        if other is None:
            return self
        x, y = min(self.x, other.x), min(self.y, other.y)
        right = max(self.x + self.width, other.x + other.width)
        top = max(self.y + self.height, other.y + other.height)
        return Rectangle(x, y, right - x, top - y)

    @property
    def area(self) -> int:
        return self.width * self.height

    def of(self, data: np.ndarray) -> np.ndarray:
        """(height, width): its cells of `data` (rows, columns)."""
        return data[self.y : self.y + self.height, self.x : self.x + self.width]


def changed_rectangle(before: np.ndarray, after: np.ndarray) -> Rectangle | None:
    """The smallest that holds all cells in which two arrays (rows, columns) differ; None where none does."""
    differs = before != after
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    x, y = int(columns[0]), int(rows[0])
    return Rectangle(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)


class GridUpdates:
    """Says for each state of a grid what those who have the earlier ones need.

    A rectangle holds every cell that changed since the whole grid went out last, not since the last rectangle: where
    one is lost, as Nav2 does while a new grid waits for its costmap's turn, the next one makes up for it. What is lost
    last is made up for by the whole grid after `refresh` seconds.
    """

    def __init__(self, refresh: float = REFRESH) -> None:
        self._refresh = refresh
        self._known: tuple[OccupancyGrid, str] | None = None  # the newest state, and its frame
        self._touched: Rectangle | None = None  # what changed since the whole grid went out
        self._since = 0.0  # when the first rectangle of these did

    def choose(
        self, grid: OccupancyGrid, frame: str, now: float, whole: bool = False
    ) -> OccupancyGrid | Rectangle | None:
        """The update to send at `now` (seconds): the whole grid, a rectangle of it, or nothing.

        The whole grid where size, origin, resolution or frame changed, where the rectangle would be more than half of
        it, and for `whole`, unless it went out last and nothing changed: then a latched topic holds it.
        """
        known, self._known = self._known, (grid, frame)
        if known is None or known[1] != frame or not same_cells(known[0], grid):
            return self._all(grid)
        changed = None if grid is known[0] else changed_rectangle(known[0].data, grid.data)
        touched = self._touched if changed is None else changed | self._touched
        if touched is None:
            return None
        overdue = self._touched is not None and now - self._since >= self._refresh
        if whole or overdue or 2 * touched.area > grid.data.size:
            return self._all(grid)
        if changed is None:
            return None
        if self._touched is None:
            self._since = now
        self._touched = touched
        return touched

    def _all(self, grid: OccupancyGrid) -> OccupancyGrid:
        self._touched = None
        return grid


def same_cells(a: OccupancyGrid, b: OccupancyGrid) -> bool:
    """True if cells of the same index lie at the same place."""
    return a.resolution == b.resolution and a.data.shape == b.data.shape and np.array_equal(a.origin, b.origin)


def patched(grid: OccupancyGrid, place: Rectangle, cells: np.ndarray) -> OccupancyGrid:
    """`grid` with new `cells`, int8 of any shape, at `place`. Raises InvalidRequest where they do not fit."""
    rows, columns = grid.data.shape
    inside = min(place.x, place.y) >= 0 and place.x + place.width <= columns and place.y + place.height <= rows
    if not inside or cells.size != place.area:
        raise InvalidRequest(f"{cells.size} new cells at {place}: expected {place.area} inside {columns}x{rows}")
    data = grid.data.copy()
    place.of(data)[...] = cells.reshape(place.height, place.width)
    return replace(grid, data=data)
