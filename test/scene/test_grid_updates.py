# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of the occupancy grid: whoever applies what is sent has the grid, in any order of changes and with losses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gld_ros.errors import InvalidRequest
from gld_ros.scene.map.grid_updates import GridUpdates, Rectangle, changed_rectangle, patched
from gld_ros.scene.map.occupancy import BLOCK, OccupancyGrid, occupancy_grid
from gld_ros.scene.map.voxels import VoxelGrid, pack

NEVER = float("inf")
cells = st.tuples(st.integers(0, 7), st.integers(0, 11), st.sampled_from([-1, 0, 40, 100]))


def grid(data, origin=(0.0, 0.0), resolution=0.05):
    return OccupancyGrid(np.array(origin), resolution, np.array(data, np.int8))


class Subscriber:
    """Does with the messages what Nav2's static layer and RViz's map do."""

    def __init__(self):
        self.data = None

    def take(self, sent, grid):
        if isinstance(sent, OccupancyGrid):
            self.data = sent.data.copy()
        elif sent is not None and self.data is not None:
            sent.of(self.data)[...] = sent.of(grid.data)


@given(st.lists(cells, max_size=6))
def test_the_rectangle_is_the_smallest_that_holds_all_changes(changes):
    before = np.full((8, 12), -1, np.int8)
    after = before.copy()
    for row, column, value in changes:
        after[row, column] = value
    changed = changed_rectangle(before, after)
    rows, columns = np.nonzero(before != after)
    if changed is None:
        assert not len(rows)
        return
    assert (changed.x, changed.y) == (columns.min(), rows.min())
    assert (changed.x + changed.width - 1, changed.y + changed.height - 1) == (columns.max(), rows.max())
    assert changed.of(after).shape == (changed.height, changed.width)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 2, *[st.integers(1, 9)] * 2), min_size=1, max_size=4))
def test_the_union_of_rectangles_holds_their_cells_and_no_row_or_column_more(corners):
    whole, union = np.zeros((20, 20), bool), None
    for corner in corners:
        rectangle = Rectangle(*corner)
        rectangle.of(whole)[...] = True
        union = rectangle | union
    assert union == changed_rectangle(np.zeros_like(whole), whole) and union.of(whole).size == union.area


steps = st.lists(st.lists(cells, max_size=3) | st.sampled_from(["moves", "other frame"]), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(steps, st.data())
def test_who_applies_what_is_sent_has_the_grid(steps, data):
    """One listens from the start; one loses any updates but the last; one joins at any time."""
    updates, there, lossy, late = GridUpdates(NEVER), Subscriber(), Subscriber(), Subscriber()
    joins = data.draw(st.integers(0, len(steps)), "joins")
    now, frame, latched = grid(np.full((8, 12), -1)), "map", None
    for number, step in enumerate([[], *steps]):
        if step == "moves":
            now = grid(now.data, now.origin + 0.4)
        elif step == "other frame":
            frame += "'"
        else:
            changed = now.data.copy()
            for row, column, value in step:
                changed[row, column] = value
            now = grid(changed, now.origin)
        if number == joins:
            late.take(latched, now)
        sent = updates.choose(now, frame, 0.0, whole=number == joins)
        latched = sent if isinstance(sent, OccupancyGrid) else latched
        there.take(sent, now)
        if number >= joins:
            late.take(sent, now)
            np.testing.assert_array_equal(late.data, now.data)
        if isinstance(sent, OccupancyGrid) or data.draw(st.booleans(), "arrives"):
            lossy.take(sent, now)
            if sent is not None:
                np.testing.assert_array_equal(lossy.data, now.data)
        np.testing.assert_array_equal(there.data, now.data)


def test_the_whole_grid_is_sent_where_an_update_would_not_do():
    updates, data = GridUpdates(NEVER), np.full((8, 12), -1)
    first = grid(data)
    assert updates.choose(first, "map", 0.0) is first
    assert updates.choose(grid(data), "map", 0.0) is None
    assert updates.choose(grid(data), "map", 0.0, whole=True) is None  # the latched one is the same
    for other in (grid(data, (0.05, 0)), grid(data[:7], (0.05, 0)), grid(data[:7], (0.05, 0), 0.1)):
        assert updates.choose(other, "map", 0.0) is other
    assert updates.choose(other, "odom", 0.0) is other
    most = grid(np.zeros((7, 12)), (0.05, 0), 0.1)
    assert updates.choose(most, "odom", 0.0) is most
    one = np.zeros((7, 12))
    one[3, 4] = 100
    assert updates.choose(grid(one, (0.05, 0), 0.1), "odom", 0.0) == Rectangle(4, 3, 1, 1)
    assert isinstance(updates.choose(grid(one, (0.05, 0), 0.1), "odom", 0.0, whole=True), OccupancyGrid)


def test_updates_add_up_until_the_whole_grid_is_sent_again():
    updates, data = GridUpdates(refresh=5.0), np.zeros((8, 12))
    updates.choose(grid(data), "map", 0.0)

    def sent(row, column, value, now):
        data[row, column] = value
        return updates.choose(grid(data), "map", now)

    assert sent(1, 1, 100, 100.0) == Rectangle(1, 1, 1, 1)  # a grid that lay long is none that lacks something
    assert sent(2, 3, 100, 101.0) == Rectangle(1, 1, 3, 2)
    assert sent(1, 1, 0, 102.0) == Rectangle(1, 1, 3, 2)  # as it was in the whole grid, not as in the first update
    assert sent(1, 1, 0, 104.9) is None
    assert isinstance(sent(1, 1, 0, 105.0), OccupancyGrid)  # nothing changed: for those who lost something
    assert sent(1, 1, 0, 200.0) is None
    assert sent(5, 5, 100, 201.0) == Rectangle(5, 5, 1, 1)


def test_cells_are_put_where_they_belong_or_refused():
    before = grid(np.zeros((8, 12)))
    after = patched(before, Rectangle(10, 5, 2, 3), np.full(6, 100, np.int8))
    assert changed_rectangle(before.data, after.data) == Rectangle(10, 5, 2, 3) and not before.data.any()
    for place, count in (((11, 5, 2, 3), 6), ((10, 6, 2, 3), 6), ((-1, 0, 2, 3), 6), ((10, 5, 2, 3), 5)):
        with pytest.raises(InvalidRequest, match=f"{count} new cells at .*: expected 6 inside 12x8"):
            patched(before, Rectangle(*place), np.zeros(count, np.int8))


@pytest.mark.parametrize("columns", [[(0, 0)], [(-1, 5)], [(63, -64), (64, 0)], [(-65, 2), (200, 3)]])
def test_the_grid_ends_at_whole_blocks(columns):
    keys = np.sort(pack(np.array([(x, y, 0) for x, y in columns])))
    none = np.empty(0, np.int64)
    made = occupancy_grid(
        VoxelGrid(0.5, np.array([7.0, 8.0, 0.0])), keys, np.ones(len(keys), bool), none, none.astype(float), 0, 0.5
    )
    corner = np.round((made.origin - (7, 8)) / 0.5).astype(int)
    assert not (corner % BLOCK).any() and not (np.array(made.data.shape) % BLOCK).any()
    found = {(int(x) + corner[0], int(y) + corner[1]) for y, x in np.argwhere(made.data == 100)}
    assert found == set(columns)
    assert made.data.size <= (np.ptp(np.array(columns), axis=0) + 2 * BLOCK).prod()
