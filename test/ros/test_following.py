# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Continuous mode over DDS: what it makes, when, and what it leaves undone and why."""

import time

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import NodeThread, Robot
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from gld_ros.action import SynthesizeTrajectory
from gld_ros.geometry.se3 import BODY_FROM_OPTICAL, invert
from gld_ros.msg import SynthesizedView
from gld_ros.ros import conversions
from gld_ros.ros.node.following import WORLD
from gld_ros.ros.node.synthesizer import Synthesizer
from gld_ros.scene.viewpoints import at_offsets
from gld_ros.srv import SynthesizeViews

SEED = 77
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
FORWARD = [0.1, 0.0, 0.0, 0.0]


class Follower(Robot):
    """A robot that listens to ~/views."""

    def __init__(self):
        super().__init__()
        self.views, self.clouds = [], []
        self.client = self.node.create_client(SetBool, "gld_node/follow")
        self.path = self.node.create_publisher(Path, "plan", LATCHED)

    def follow(self, data):
        return self.call(self.client, data=data)

    def listen(self, node):
        create = self.node.create_subscription
        self.listeners = [
            create(SynthesizedView, "gld_node/views", self.views.append, 10),
            create(PointCloud2, "gld_node/points", self.clouds.append, LATCHED),
        ]
        self.wait(node.hears_and_is_heard("~/views", "~/points"), "the listeners")

    def stop_listening(self):
        for listener in self.listeners:
            self.node.destroy_subscription(listener)
        self.listeners = []

    def skipped(self, reason):
        return self.counts("/gld_node/follow").get(f"skipped_{reason}", 0)

    def wait_for_skip(self, reason):
        """Until it was skipped again for that reason."""
        before = self.skipped(reason)
        self.wait(lambda: self.skipped(reason) > before, f"a count of skipped_{reason}")

    def stand(self, index):
        """Send the transform of the frame `base` where the robot's body is behind one of its cameras."""
        stamp = conversions.ns_to_stamp(time.time_ns())
        self.tf.sendTransform(self.transform(self.body(index), stamp, "map", "base"))

    def body(self, index):
        """(4, 4) of the body behind one of the robot's cameras."""
        return self.cameras[index].c2w @ invert(BODY_FROM_OPTICAL)


@pytest.fixture(scope="module")
def robot():
    robot = Follower()
    yield robot
    robot.close()


@pytest.fixture(scope="module")
def node(robot):
    with NodeThread(
        follow_rate=10.0,
        follow_budget=1.0,
        follow_offsets=FORWARD,
        follow_seed=SEED,
        max_requests=1,
    ) as process:
        yield process


@pytest.fixture
def following(robot, node):
    """Three key frames, continuous mode on and ~/views heard; paused afterwards."""
    if robot.diagnostics()["node"]["key_frames"] == "0":
        robot.fill_context(0, 2, 4)
    robot.listen(node)
    robot.views.clear()
    yield robot
    assert robot.follow(False).success
    robot.stop_listening()


def test_it_starts_paused_and_makes_views_at_the_offsets_when_resumed(following):
    robot = following
    assert robot.counts("/gld_node/follow") == {"published": 0, "received": 0, "dropped": 0}
    answer = robot.follow(True)
    assert (answer.success, answer.message) == (True, "resumed")
    (view,) = robot.wait(lambda: robot.views, "a view")
    (expected,) = at_offsets(robot.body(4), FORWARD)
    np.testing.assert_allclose(conversions.pose_to_matrix(view.pose.pose), expected, atol=1e-6)
    assert view.seed == SEED and len(view.source_stamps) == 2  # what tells it from an answer, and where it comes from
    assert view.header.stamp == max(view.source_stamps, key=conversions.stamp_to_ns)
    robot.wait(lambda: robot.clouds, "its cloud")
    robot.wait_for_skip("not_moved")  # the robot stands still: once is enough
    assert len(robot.views) == 1
    assert robot.set_parameter("depth_coverage", 0.9) == ""
    assert robot.set_parameter("follow_offsets", [*FORWARD, 0.0, 0.0, 0.0, 0.4]) == ""
    robot.wait(lambda: len(robot.views) == 2, "the new viewpoint")
    assert (view.depth_coverage, robot.views[1].depth_coverage) == (0, pytest.approx(0.9))
    assert (view.depth_lower.width, robot.views[1].depth_lower.width) == (0, view.depth.width)
    assert robot.set_parameter("depth_coverage", 0.0) == ""
    robot.wait_for_skip("not_moved")
    assert len(robot.views) == 2
    assert robot.set_parameter("follow_offsets", FORWARD) == ""


def test_a_robot_that_moves_is_followed_by_tf(following):
    robot = following
    assert robot.set_parameter("follow_frame", "base") == ""
    robot.follow(True)
    robot.wait_for_skip("no_pose")
    assert not robot.views
    for index, count in ((0, 1), (4, 2)):

        def moved(index=index, count=count):
            robot.stand(index)
            return len(robot.views) == count

        robot.wait(moved, "a view from the new place")
        (expected,) = at_offsets(robot.body(index), FORWARD)
        np.testing.assert_allclose(conversions.pose_to_matrix(robot.views[-1].pose.pose), expected, atol=1e-6)
    assert robot.set_parameter("follow_frame", "") == ""


def make_again(robot):
    """Move the viewpoint there and back, so that it is not what was made last."""
    robot.follow(True)
    assert robot.set_parameter("follow_offsets", [0.3, *FORWARD[1:]]) == ""
    robot.wait_for_skip("not_moved")
    assert robot.follow(False).message == "paused"
    robot.views.clear()
    assert robot.set_parameter("follow_offsets", FORWARD) == ""


def test_paused_it_does_nothing(following):
    robot = following
    make_again(robot)
    before = robot.counts("/gld_node/follow")
    time.sleep(0.6)  # six periods
    assert not robot.views and robot.counts("/gld_node/follow") == before


def test_nothing_is_made_that_nobody_hears(following, node):
    robot = following
    make_again(robot)
    robot.stop_listening()
    robot.follow(True)
    robot.wait_for_skip("unheard")
    robot.listen(node)
    robot.wait(lambda: robot.views, "a view, now that it is heard")


def test_requests_go_first(following):
    """A request stops a view in work, and is never refused for one, though no second request may wait."""
    robot = following
    make_again(robot)
    assert robot.set_parameter("steps", 1000) == ""  # far slower than anything asked meanwhile
    robot.follow(True)
    robot.wait_for_skip("working")
    stopped = robot.skipped("request")
    goal = robot.result(robot.action.send_goal_async(SynthesizeTrajectory.Goal(poses=robot.poses(1))))
    robot.wait(lambda: robot.skipped("request") > stopped, "the view that gives way")
    assert not robot.views
    robot.follow(False)
    robot.result(goal.cancel_goal_async())
    assert robot.result(goal.get_result_async()).result.error_code == SynthesizeTrajectory.Result.CANCELLED
    assert robot.set_parameter("steps", 0) == ""
    robot.follow(True)
    robot.wait(lambda: robot.views, "the view that had to give way")


def test_an_answer_stays_latched_until_there_is_something_newer(following):
    robot = following
    make_again(robot)
    answer = robot.ask(4, seed=5)  # from the newest key frame, too
    assert answer.error_code == SynthesizeViews.Response.NONE
    robot.wait(lambda: robot.clouds and robot.clouds[-1] == answer.points, "the answer's cloud")
    robot.follow(True)
    robot.wait(lambda: SEED in [view.seed for view in robot.views], "a view of the same key frames")
    robot.wait_for_skip("not_moved")
    assert robot.clouds[-1] == answer.points
    robot.fill_context(5)  # newer than what was answered from
    robot.wait(lambda: robot.clouds[-1].header.stamp != answer.points.header.stamp, "a newer cloud")
    assert conversions.stamp_to_ns(robot.clouds[-1].header.stamp) > conversions.stamp_to_ns(answer.points.header.stamp)


def test_the_budget_bounds_its_share_of_the_worker(following):
    robot = following
    make_again(robot)
    assert robot.set_parameter("follow_budget", 0.0) == ""
    robot.follow(True)
    robot.wait_for_skip("budget")
    assert not robot.views
    assert robot.set_parameter("follow_budget", 1.0) == ""
    robot.wait(lambda: len(robot.views) == 1, "a view")
    assert robot.set_parameter("follow_budget", 0.001) == ""
    assert robot.set_parameter("follow_offsets", [0.3, *FORWARD[1:]]) == ""
    robot.wait_for_skip("budget")  # after 0.1 s of work it rests for 100 s
    assert len(robot.views) == 1
    assert robot.set_parameter("follow_budget", 1.0) == ""
    robot.wait(lambda: len(robot.views) == 2, "the next one")
    assert robot.set_parameter("follow_offsets", FORWARD) == ""


def test_views_show_the_world_of_those_before_until_the_map_is_cleared(following, monkeypatch):
    robot, given, run = following, [], Synthesizer.run

    def spied(self, request, job, on_view, on_progress, earlier):
        given.append(len(earlier))
        return run(self, request, job, on_view, on_progress, earlier)

    monkeypatch.setattr(Synthesizer, "run", spied)
    make_again(robot)
    assert robot.set_parameter("map_enabled", True) == ""
    robot.follow(True)
    robot.wait(lambda: robot.views, "a view")
    robot.wait_for_skip("not_moved")
    assert 0 < given[-1] <= WORLD
    assert robot.call(robot.node.create_client(Trigger, "gld_node/clear_map")).success
    robot.wait(lambda: len(robot.views) == 2, "the same view for the new map")
    assert given[-1] == 0
    assert robot.set_parameter("map_enabled", False) == ""


def test_an_inactive_node_makes_nothing(following):
    robot = following
    make_again(robot)
    robot.follow(True)
    robot.wait(lambda: robot.views, "a view")
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    robot.wait_for_skip("inactive")
    robot.views.clear()
    assert robot.transition(Transition.TRANSITION_ACTIVATE)
    robot.wait(lambda: robot.views, "a view of the active node")


def test_along_a_path(robot, node):
    """Started in continuous mode, with a path that another node plans."""
    process = NodeThread(
        follow=True,
        follow_rate=10.0,
        follow_path_topic="plan",
        follow_path_distances="[0.2, 50.0]",
        request_height=0.1,
        __node="second",
    )
    views = []
    listener = robot.node.create_subscription(SynthesizedView, "second/views", views.append, 10)
    name = "/second/follow"
    try:

        def reason(key):
            return lambda: int(robot.diagnostics("/second").get(name, {}).get(f"skipped_{key}", 0))

        robot.wait(reason("no_pose"), "a count")  # no key frame yet
        for index in (0, 2, 4):
            robot.send(index)
            time.sleep(0.2)
        robot.wait(reason("no_viewpoint"), "a count")  # no path yet
        start, ahead = robot.body(4)[:3, 3], robot.body(4)[:3, 0]
        ends = [start - 0.1 * ahead, start + ahead]
        poses = [conversions.pose_to_msg(translation(end), Header(frame_id="map")) for end in ends]
        robot.path.publish(Path(header=Header(frame_id="map"), poses=poses))
        (view,) = robot.wait(lambda: views, "a view along the path")
        expected = start + 0.2 * ahead / np.linalg.norm(ahead) + (0, 0, 0.1)
        found = conversions.pose_to_matrix(view.pose.pose)
        np.testing.assert_allclose(found[:3, 3], expected, atol=0.01)
        flat = ahead[:2] / np.linalg.norm(ahead[:2])
        np.testing.assert_allclose(found[:3, 2], (*flat, 0), atol=1e-6)  # level, along the path
    finally:
        robot.node.destroy_subscription(listener)
        assert process.stop()


def translation(position):
    pose = np.eye(4)
    pose[:3, 3] = position
    return pose
