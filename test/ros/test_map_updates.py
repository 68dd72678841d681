# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""~/map/occupancy with ~/map/occupancy_updates over DDS: who takes both has the node's grid, however it changed.

The whole grid is never sent merely because time passed: here nothing may be made up for by that.
"""

import time

import numpy as np
import pytest
import rclpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from map_msgs.msg import OccupancyGridUpdate
from nav_msgs.msg import OccupancyGrid
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import PATIENCE

from gld_ros.geometry.cameras import Camera
from gld_ros.ros.node.counters import TopicCounters
from gld_ros.ros.node.map_topics import MapTopics
from gld_ros.ros.node.parameters import Parameters
from gld_ros.scene.map.config import MapConfig
from gld_ros.scene.map.voxel_map import VoxelMap
from gld_ros.views import Scale, View

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
GRID, UPDATES = "/map_node/map/occupancy", "/map_node/map/occupancy_updates"
HEIGHTS = Parameters(map_low=-5.0, map_high=5.0)
W, H, SECOND = 16, 12, 1_000_000_000


class Planner:
    """Keeps the grid as Nav2's static layer and RViz do: whole ones, and updates as they come; no look at stamps."""

    def __init__(self, session, name, updates=True):
        self.node, self._session = rclpy.create_node(name), session
        self.grid, self.place, self.received, self.patches = None, None, 0, []
        self.node.create_subscription(OccupancyGrid, GRID, self._on_grid, LATCHED)
        if updates:
            self.node.create_subscription(OccupancyGridUpdate, UPDATES, self._on_update, 10)
        session.executor.add_node(self.node)

    def _on_grid(self, msg):
        self.received += 1
        self.grid = np.array(msg.data, np.int8).reshape(msg.info.height, msg.info.width)
        self.place = msg.info.origin.position.x, msg.info.origin.position.y, msg.header.frame_id

    def _on_update(self, msg):
        self.received += 1
        self.patches.append(msg)
        if self.grid is not None:
            assert msg.x >= 0 and msg.y >= 0
            assert msg.y + msg.height <= self.grid.shape[0] and msg.x + msg.width <= self.grid.shape[1]
            cells = np.array(msg.data, np.int8).reshape(msg.height, msg.width)
            self.grid[msg.y : msg.y + msg.height, msg.x : msg.x + msg.width] = cells

    def has(self, grid):
        return (
            self.grid is not None
            and np.array_equal(self.grid, grid.data)
            and np.allclose(self.place[:2], grid.origin)
            and self.place[2] == "map"
        )

    def close(self):
        self._session.executor.remove_node(self.node)
        self.node.destroy_node()


class Session:
    """The map's topics with a map of its own, and a planner that listens from the start."""

    def __init__(self):
        self.executor = SingleThreadedExecutor()
        self.node = rclpy.create_node("map_node")
        self.executor.add_node(self.node)
        self.counters = TopicCounters()
        self.topics = MapTopics(self.node, self.counters, refresh=float("inf"))
        config = MapConfig(
            voxel_size=0.1, max_depth=3.0, radius=20.0, max_voxels=100_000, free_margin=0.0, confirmations=0
        )
        self.map = VoxelMap(config)
        self.planner = Planner(self, "planner")
        self.matched(1, 1)

    def close(self):
        self.planner.close()
        self.executor.shutdown()
        self.node.destroy_node()

    def wait(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {PATIENCE} s"
            self.executor.spin_once(timeout_sec=0.02)

    def matched(self, grids, updates):
        """Wait until so many subscriptions are known to the publishers."""
        counts = {GRID: grids, UPDATES: updates}
        publishers = [p for p in self.node.publishers if p.topic_name in counts]
        assert len(publishers) == 2
        self.wait(lambda: all(p.get_subscription_count() == counts[p.topic_name] for p in publishers), "discovery")

    def sent(self):
        """Whole grids and updates so far."""
        counts = self.counters.snapshot()
        return counts[GRID]["published"], counts[UPDATES]["published"]

    def publish(self, last=False):
        """As the node does `map_rate` times a second; returns what was sent, once the planner has it."""
        before, received = self.sent(), self.planner.received
        self.topics.publish(self.map, HEIGHTS, time.time_ns(), last)
        sent = tuple(np.subtract(self.sent(), before))
        self.wait(lambda: self.planner.received == received + sum(sent), "what was sent")
        return sent

    def grid(self):
        return self.map.occupancy(HEIGHTS.map_low, HEIGHTS.map_high)

    def up_to_date(self, planner):
        """Wait until `planner` has the grid."""
        self.wait(lambda: planner.has(self.grid()), f"the grid at '{planner.node.get_name()}'")


def camera(yaw, x=0.0):
    """Looks along the map's x axis at yaw 0."""
    c, s = np.cos(yaw), np.sin(yaw)
    c2w = np.eye(4)
    c2w[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    c2w[0, 3] = x
    return Camera(np.array([[12.0, 0, W / 2], [0, 12.0, H / 2], [0, 0, 1]]), c2w, W, H)


def act(voxels, kind, yaw, x, depth):
    """One thing that changes a map."""
    image, confidence = np.full((H, W, 3), 100, np.uint8), np.full((H, W), 0.9, np.float32)
    depths = np.full((H, W), depth, np.float32)
    if kind == "observe":
        voxels.integrate_observed(depths, image, confidence, camera(yaw, x), SECOND)
    elif kind == "generate":
        everywhere = np.ones((H, W), bool)
        made = View(camera(yaw, x), image, depths, confidence, everywhere, Scale(1, "stereo", 0), "test", 0, (SECOND,))
        voxels.integrate_generated(made)
    elif kind == "forget":
        voxels.forget(np.array([x, 0.0, 0.0]), int((1 + 10 * depth) * SECOND))
    else:
        voxels.clear()


@pytest.fixture(scope="module")
def session():
    session = Session()
    yield session
    session.close()


def fresh(session):
    """With walls ahead and behind, and all sent."""
    session.map.clear()
    for yaw in (0.0, np.pi):
        act(session.map, "observe", yaw, 0.0, 2.5)
    session.publish()


steps = st.tuples(
    st.sampled_from(["observe", "observe", "generate", "forget", "clear"]),
    st.sampled_from([0.0, 0.3, 1.6, 3.1]),
    st.sampled_from([0.0, 0.3, -9.0]),
    st.sampled_from([0.7, 1.5, 1.6, 2.9]),
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, min_size=3, max_size=8), st.integers(0, 8))
def test_who_applies_grids_and_updates_has_the_nodes_grid(session, steps, joins):
    fresh(session)
    late = None
    try:
        for number, step in enumerate(steps):
            act(session.map, *step)
            session.publish()
            assert session.planner.has(session.grid()), f"after {steps[: number + 1]}"
            if late is not None:
                session.up_to_date(late)
            if number == joins % len(steps):
                late = Planner(session, "late")
                session.matched(2, 2)
                session.publish()  # nothing changed, but the latched grid may be old
                session.up_to_date(late)
    finally:
        late.close()
        session.matched(1, 1)
        session.publish()


def test_an_update_is_the_smallest_rectangle(session):
    fresh(session)
    before = session.grid().data
    act(session.map, "generate", 1.6, 0.0, 0.5)
    after = session.grid().data
    assert before.shape == after.shape and session.publish() == (0, 1)
    rows, columns = np.nonzero(before != after)
    update = session.planner.patches[-1]
    assert (update.x, update.y) == (columns.min(), rows.min())
    assert (update.x + update.width, update.y + update.height) == (columns.max() + 1, rows.max() + 1)
    assert len(update.data) < 0.1 * after.size and update.header.frame_id == "map"


def test_who_joins_after_an_update_gets_the_whole_grid(session):
    fresh(session)
    act(session.map, "generate", 1.6, 0.0, 0.5)
    assert session.publish() == (0, 1)
    late = Planner(session, "late")
    session.matched(2, 2)
    assert session.publish() == (1, 0)
    session.up_to_date(late)
    late.close()
    session.matched(1, 1)
    session.publish()


def test_nothing_is_sent_where_no_cell_changed(session):
    fresh(session)
    session.map.forget(np.zeros(3), 2 * SECOND)
    act(session.map, "observe", 0.0, 0.0, 2.5)
    assert session.publish() == (0, 0)


def test_who_takes_the_grid_alone_gets_every_change(session):
    fresh(session)
    alone = Planner(session, "alone", updates=False)
    session.matched(2, 1)
    act(session.map, "generate", 1.6, 0.0, 0.5)
    assert session.publish() == (1, 0)
    session.up_to_date(alone)
    act(session.map, "generate", -1.6, 0.0, 0.5)
    assert session.publish() == (1, 0)
    session.up_to_date(alone)
    alone.close()
    session.matched(1, 1)
    act(session.map, "generate", 1.6, 0.0, 0.9)
    assert session.publish() == (0, 1)


def test_the_latched_grid_is_whole_once_the_map_stands_still(session):
    fresh(session)
    act(session.map, "generate", 1.6, 0.0, 0.5)
    assert session.publish() == (0, 1)
    assert session.publish(last=True) == (1, 0)
    late = Planner(session, "late")
    session.up_to_date(late)
    late.close()
    session.matched(1, 1)
    session.publish()
