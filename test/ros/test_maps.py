# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The node's map over DDS: layers, grid, clear, save and load; and the Nav2 example that uses them."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import PATIENCE, NodeThread
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2
from std_srvs.srv import Trigger

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.points import project
from gld_ros.ros import conversions
from gld_ros.ros.node.counters import Throttle
from gld_ros.ros.node.drift_check import RealityChecker
from gld_ros.ros.node.map_outputs import MapOutputs, path_inside
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.shared import Shared
from gld_ros.srv import LoadMap, SaveMap, SynthesizeViews
from gld_ros.views import ObservedDepth, Scale, SourceView, View

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class MapUser:
    """Subscribes to the map and calls its services."""

    def __init__(self, robot):
        self.robot = robot
        self.newest = {}
        for name, kind in {"observed": PointCloud2, "generated": PointCloud2, "occupancy": OccupancyGrid}.items():
            keep = lambda msg, name=name: self.newest.__setitem__(name, msg)  # noqa: E731
            robot.node.create_subscription(kind, f"gld_node/map/{name}", keep, LATCHED)
        kinds = {"clear_map": Trigger, "save_map": SaveMap, "load_map": LoadMap}
        self.clients = {name: robot.node.create_client(kind, f"gld_node/{name}") for name, kind in kinds.items()}

    def points(self, name):
        """What came in last of a layer."""
        return point_cloud2.read_points(self.newest[name]) if name in self.newest else []

    def call(self, name, **fields):
        return self.robot.call(self.clients[name], **fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="module")
def node(robot, folder):
    with NodeThread(
        map_enabled=True,
        map_rate=5.0,
        map_folder=folder,
        map_generated_lifetime=1000.0,
        map_confirmations=0,
        map_free_confidence=0.7,
    ) as process:
        yield process


@pytest.fixture(scope="module")
def user(robot, node):
    """With a map of both layers."""
    user = MapUser(robot)
    robot.fill_context(0, 2, 4)
    robot.wait(lambda: len(user.points("observed")), "observed points")
    camera = robot.cameras[1]
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(0.6), 0, np.sin(0.6)], [0, 1, 0], [-np.sin(0.6), 0, np.cos(0.6)]]
    pose = conversions.pose_to_msg(camera.c2w @ turn, conversions.Header(frame_id="map"))
    answer = robot.ask(pose)
    assert answer.error_code == SynthesizeViews.Response.NONE, answer.error_message
    user.sources = [conversions.stamp_to_ns(stamp) * 1e-9 for stamp in answer.views[0].source_stamps]
    robot.wait(lambda: len(user.points("generated")), "generated points")
    return user


def test_observed_points_lie_where_the_room_is(robot, user):
    points = user.points("observed")
    assert user.newest["observed"].header.frame_id == "map"
    assert (points["generated"] == 0).all() and ((points["confidence"] > 0.29) & (points["confidence"] <= 1)).all()
    xyz = np.stack([points[name] for name in "xyz"], axis=1)
    errors = []
    for camera, depth in zip(robot.cameras[::2], robot.depths[::2], strict=True):
        (u, v), z = (a.T for a in project(xyz, camera))
        inside = (z > 0.3) & (u > 1) & (u < 191) & (v > 1) & (v < 143)
        true = depth[v[inside].astype(int), u[inside].astype(int)]
        errors.append(np.abs(z[inside] / true - 1))
    errors = np.concatenate(errors)
    assert len(errors) > 1000 and np.median(errors) < 0.1


def test_generated_points_say_what_they_are_and_where_they_come_from(user):
    points = user.points("generated")
    assert (points["generated"] == 255).all()
    assert ((points["confidence"] > 0) & (points["confidence"] <= 1)).all()
    assert np.isclose(points["stamp"], max(user.sources), atol=1e-6).any()
    grid = 0.05
    cells = [
        set(map(tuple, np.floor(np.stack([user.points(layer)[n] for n in "xyz"], 1) / grid).astype(int).tolist()))
        for layer in ("observed", "generated")
    ]
    assert len(cells[0] & cells[1]) <= 0.01 * len(cells[1])  # float32 at the borders


def test_the_grid_knows_free_and_occupied_cells(robot, user):
    def kinds():
        """Cells that are occupied, free, unknown, generated; the grid follows the points some time later."""
        data = np.array(user.newest["occupancy"].data, np.int8)
        return [(data == 100).sum(), (data == 0).sum(), (data == -1).sum(), ((data > 0) & (data < 100)).sum()]

    robot.wait(lambda: (np.array(kinds()) > [20, 20, 0, 0]).all(), "a grid with all kinds of cells")
    msg = user.newest["occupancy"]
    assert msg.header.frame_id == "map" and msg.info.resolution == pytest.approx(0.05)
    assert len(msg.data) == msg.info.height * msg.info.width


def test_nothing_is_sent_while_nothing_changes(robot, user):
    def published():
        return robot.counts("/gld_node/map/observed")["published"]

    user.call("clear_map")
    robot.wait(lambda: not len(user.points("observed")), "an empty map")
    before = published()
    time.sleep(0.6)  # three periods
    assert published() <= before + 1
    user.call("load_map", path="nothing there")  # a failure is no change either
    assert published() <= before + 1


def test_save_clear_and_load(robot, user, folder):
    robot.fill_context(1)
    robot.wait(lambda: len(user.points("observed")), "observed points")
    saved = user.call("save_map", path="floor_2/kitchen")
    assert (saved.error_code, saved.error_message) == (0, "")
    assert sorted(saved.files) == [str(folder / "floor_2" / f"kitchen.{end}") for end in ("npz", "ply")]
    assert user.call("clear_map").success
    robot.wait(lambda: not len(user.points("observed")), "an empty map")
    loaded = user.call("load_map", path="floor_2/kitchen")
    assert (loaded.error_code, loaded.error_message) == (0, "") and loaded.observed > 1000
    robot.wait(lambda: len(user.points("observed")), "the loaded map")
    late = MapUser(robot)
    robot.wait(lambda: len(late.points("observed")), "the latched map")


def test_without_a_map_the_services_say_so(robot, user):
    assert robot.set_parameter("map_enabled", False) == ""
    assert not user.call("clear_map").success
    answer = user.call("save_map", path="x")
    assert answer.error_code == SaveMap.Response.NOT_ACTIVE and "map_enabled" in answer.error_message
    assert robot.set_parameter("map_enabled", True) == ""
    assert user.call("clear_map").success


def test_the_map_outlives_deactivation(robot, user):
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    assert user.call("load_map", path="floor_2/kitchen").error_code == 0
    assert robot.transition(Transition.TRANSITION_ACTIVATE)


def test_a_jump_of_time_forgets_the_map_and_what_waits(robot):
    node = robot.node
    log = []
    shared = Shared(node, Parameters(map_enabled=True, map_rate=0.01, map_confirmations=0))
    shared.warn = Throttle(log.append)
    maps = MapOutputs(shared, RealityChecker(shared))
    try:
        camera, now = robot.cameras[0], node.get_clock().now().nanoseconds
        image, depth = robot.pictures[0], robot.depths[0].astype(np.float32)
        seen = np.arange(144)[:, None] < np.full(192, 100)
        view = View(camera, image, depth, np.ones((144, 192), "f4"), ~seen, Scale(1, "stereo", 0), "test", 0, (now,))
        maps.add_view(view)
        robot.wait(lambda: min(maps._map.sizes().values()) > 100, "both layers")
        held = threading.Event()
        maps._worker.submit(lambda job: held.wait(PATIENCE))
        maps.add_view(view)  # of before the jump, still waiting
        shared.key_frames.clear(jump=True)
        held.set()
        robot.wait(lambda: not maps._worker.busy and not maps._worker.waiting, "the map's thread")
        assert maps._map.sizes() == {"observed": 0, "generated": 0}
        maps.add_view(view)
        robot.wait(lambda: min(maps._map.sizes().values()) > 100, "a new map")
        for _ in range(100):
            maps.add_view(view)
        assert any("the map is behind" in message for message in log)
    finally:
        assert maps.stop(10.0) and shared.worker.stop(10.0)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.text(st.sampled_from("ab./~\\\0 "), max_size=12) | st.text(max_size=300))
def test_any_text_is_a_path_inside_or_refused(tmp_path, path):
    try:
        inside = path_inside(str(tmp_path), path)
    except InvalidRequest:
        return
    assert inside != tmp_path and inside.is_relative_to(tmp_path)


def test_paths_stay_inside_the_folder(tmp_path):
    (tmp_path / "maps").mkdir()
    folder = str(tmp_path / "maps")
    assert path_inside(folder, "a/b") == tmp_path / "maps" / "a" / "b"
    (tmp_path / "maps" / "link").symlink_to(tmp_path)
    (tmp_path / "maps" / "file.npz").symlink_to(tmp_path / "elsewhere.npz")
    for path in ("../a", "a/../../b", "/etc/passwd", "", ".", "a/..", "link/a", "file", "a\0b"):
        with pytest.raises(InvalidRequest, match="path"):
            path_inside(folder, path)


@pytest.mark.parametrize("jumps", [False, True])
def test_depth_that_is_found_while_time_jumps_is_not_for_the_new_map(robot, monkeypatch, jumps):
    told = []
    shared = Shared(robot.node, Parameters(map_enabled=True, map_confirmations=0))
    context, model, reality = shared.key_frames, shared.worker, RealityChecker(shared)
    maps = MapOutputs(shared, reality)
    try:
        for k, stamp in ((0, 1), (5, 2)):
            context.add("camera", SourceView(robot.pictures[k], robot.cameras[k], stamp))

        def found(sources):
            if jumps:
                context.clear(jump=True)
            return [
                ObservedDepth(robot.depths[5].astype("f4"), s.image, np.ones((144, 192), "f4"), s.camera, s.stamp)
                for s in sources
            ]

        monkeypatch.setattr(reality, "observe", lambda depth: told.append(depth.stamp))
        maps._timer.cancel()
        shared.session = SimpleNamespace(pipe=SimpleNamespace(max_sources=2, observed_depth=found))
        maps._tick()
        idle = [lambda w=w: not w.busy and not w.waiting for w in (model, maps._worker)]
        for condition in idle:
            robot.wait(condition, "both threads")
        maps._submit(lambda job: None)  # whatever comes next clears a map that is out of date
        robot.wait(idle[1], "the map's thread")
        assert (maps._map.sizes()["observed"] == 0) == jumps
        assert told == ([] if jumps else [2])
    finally:
        assert maps.stop(10.0) and model.stop(10.0)
