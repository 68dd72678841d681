# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_node under a simulated clock of every kind, and in the chain map -> odom -> camera (REP 105)."""

import time

import numpy as np
import pytest
from builtin_interfaces.msg import Duration
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import NodeThread, Robot, logged
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from gld_ros.ros import conversions
from gld_ros.srv import SynthesizeViews

Response = SynthesizeViews.Response
SECOND = 10**9
START = 5000 * SECOND
MAX_AGE = 20.0  # seconds that key frames are kept
FRUSTUM_LINES = 16  # points of a frustum's lines; the first is the camera's centre
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Simulated(Robot):
    """Its time stands still unless a test moves it; `in_map` is the odometry frame's pose in the map."""

    def __init__(self, start=START, namespace="/", pose_topic=False):
        """pose_topic: it says where the camera is by Odometry, not by TF."""
        self.time, self.in_map, self.pose_topic = start, np.eye(4), pose_topic
        self.centres = np.empty((0, 3))  # of the key frames' cameras, oldest first
        super().__init__("simulated", namespace)
        self.clock = self.node.create_publisher(Clock, "/clock", 10)
        self.odometry = self.node.create_publisher(Odometry, "pose", 10)
        self.node.create_subscription(MarkerArray, "gld_node/frusta", self._on_frusta, LATCHED)

    def _on_frusta(self, frusta):
        points = [(p.x, p.y, p.z) for marker in frusta.markers if marker.ns == "sources" for p in marker.points]
        self.centres = np.array(points[::FRUSTUM_LINES]).reshape(-1, 3)

    def now(self):
        return self.time

    def tick(self, seconds):
        """Move the clock, once, and wait until the node has seen it."""
        self.time += round(seconds * SECOND)
        now = conversions.ns_to_stamp(self.time)

        def seen():
            self.clock.publish(Clock(clock=now))
            return any(message.header.stamp == now for message in self._diagnostics[-3:])

        self.wait(seen, "the clock")

    def move_odometry(self, x):
        """The map frame's correction, as a localization sends it."""
        self.in_map = np.eye(4)
        self.in_map[0, 3] = x
        self.tf.sendTransform(self.transform(self.in_map, conversions.ns_to_stamp(self.time), "map", "odom"))

    def transforms(self, index, header):
        in_odom = self.cameras[index].c2w
        if self.pose_topic:
            odometry = Odometry(header=Header(stamp=header.stamp, frame_id="odom"), child_frame_id=header.frame_id)
            odometry.pose.pose = conversions.matrix_to_pose(in_odom)
            self.odometry.publish(odometry)
        camera = self.transform(in_odom, header.stamp, "odom", header.frame_id)
        return [self.transform(self.in_map, header.stamp, "map", "odom"), *([] if self.pose_topic else [camera])]

    def fill(self, *indices):
        """New key frames, a tenth of a second apart."""
        for index in indices:
            before = int(self.diagnostics()["node"]["key_frames"])
            self.tick(0.1)

            def kept(index=index, before=before):
                self.send(index)
                return int(self.diagnostics()["node"]["key_frames"]) == before + 1

            self.wait(kept, "a key frame")

    def key_frames_at(self, expected, timeout=60):
        """Wait until the key frames' cameras are at these places (N, 3)."""
        self.wait(
            lambda: self.centres.shape == np.shape(expected) and np.allclose(self.centres, expected, atol=1e-5),
            f"key frames at {np.round(expected, 2).tolist()}, not {np.round(self.centres, 2).tolist()}",
            timeout,
        )

    def places(self, *indices):
        """(N, 3) of the cameras in the odometry frame."""
        return np.array([self.cameras[i].center for i in indices])

    def poses(self, *indices):
        matrices = [self.in_map @ self.cameras[i].c2w for i in indices]
        return [conversions.pose_to_msg(matrix, Header(frame_id=self.map_frame)) for matrix in matrices]


@pytest.fixture(scope="module")
def simulated():
    robot = Simulated()
    yield robot
    robot.close()


def started(robot, **parameters):
    process = NodeThread(
        use_sim_time=True,
        keyframe_max_age=MAX_AGE,
        tf_timeout=0.5,
        input_timeout=1.0,
        odom_frame="odom",
        **parameters,
    )
    try:
        robot.wait(lambda: robot.image.get_subscription_count() and robot.info.get_subscription_count(), "the node")
        robot.tick(0)
    except AssertionError:
        process.stop()
        raise
    return process


@pytest.fixture(scope="module")
def node(simulated):
    with started(simulated) as process:
        yield process


@pytest.fixture
def robot(simulated, node):
    """Without key frames, the odometry frame in the map frame; the clock goes on from where it was."""
    for number in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE):
        assert simulated.transition(number)
    assert simulated.transition(Transition.TRANSITION_ACTIVATE)
    simulated.in_map = np.eye(4)
    simulated.tick(60)
    return simulated


def test_while_the_clock_stands_still_everything_is_answered(robot, node):
    """What has to end ends by the steady clock: lookups, time budgets, the watch for silence."""
    robot.fill(0, 2, 4)
    answer = robot.ask(3)
    assert answer.error_code == Response.NONE, answer.error_message
    assert max(map(conversions.stamp_to_ns, answer.views[0].source_stamps)) <= robot.now()
    (pose,) = robot.poses(3)
    pose.header.frame_id = "nowhere"
    assert robot.ask(pose).error_code == Response.TF_ERROR
    answer = robot.ask(3, time_budget=Duration(nanosec=1000))
    assert answer.error_code == Response.TIMEOUT
    robot.wait(logged(node, "no input on"), "the warning of silence")
    robot.send(0, frame="unposed", with_tf=False)
    robot.wait(lambda: robot.counts("/image").get("dropped_no_pose"), "a frame that waits for its pose in vain")


def test_key_frames_age_by_a_clock_that_runs_faster(robot):
    robot.fill(0, 2)
    robot.tick(MAX_AGE - 5)
    robot.fill(4)
    robot.key_frames_at(robot.places(0, 2, 4))
    robot.tick(MAX_AGE - 5)  # the first two are older than that now, within a second of real time
    robot.send(0)
    robot.key_frames_at(robot.places(4, 0))


def test_key_frames_stay_while_a_slow_clock_says_so(robot):
    robot.fill(0, 2)
    time.sleep(1)
    robot.tick(0.001)
    robot.fill(4)
    robot.key_frames_at(robot.places(0, 2, 4))


def test_a_clock_that_jumps_back_starts_anew(robot, node):
    robot.fill(0, 2, 4)
    before = robot.now()
    robot.tick(-100)
    robot.send(1)
    robot.wait(logged(node, "time jumped backwards"), "warning")
    robot.wait(lambda: robot.diagnostics()["node"]["key_frames"] == "0", "forgotten key frames")
    robot.fill(1, 3, 5)
    robot.key_frames_at(robot.places(1, 3, 5))
    answer = robot.ask(2)
    assert answer.error_code == Response.NONE, answer.error_message
    assert max(map(conversions.stamp_to_ns, answer.views[0].source_stamps)) < before - 90 * SECOND
    (pose,) = robot.poses(2)
    pose.header.frame_id, pose.header.stamp = "camera", conversions.ns_to_stamp(before)
    answer = robot.ask(pose)
    assert answer.error_code == Response.TF_ERROR  # nobody knows any more what was then
    robot.time = before  # for the next tests


def test_drift_is_taken_as_it_was_and_a_jump_moves_all(robot, node):
    """Corrections below pose_jump_translation change nothing that is kept; a loop closure moves every key frame."""
    expected = []
    for index, x in ((0, 0.0), (2, 0.03), (4, 0.06)):
        robot.move_odometry(x)
        robot.fill(index)
        expected.append(robot.places(index)[0] + (x, 0, 0))
    robot.key_frames_at(expected)
    robot.move_odometry(0.08)
    time.sleep(0.5)
    robot.key_frames_at(expected)
    assert robot.diagnostics()["node"]["pose_jumps"] == "0"
    robot.tick(15)  # the history of TF has 10 s: after this it knows nothing of then
    header = Header(stamp=conversions.ns_to_stamp(robot.now()), frame_id="camera")
    robot.tf.sendTransform(robot.transforms(4, header))
    robot.move_odometry(3.0)
    robot.key_frames_at(robot.places(0, 2, 4) + (3, 0, 0))
    robot.wait(logged(node, "the frame 'map' moved: 3 key frames got new poses, 0 were dropped"), "the log")
    answer = robot.ask(3)
    assert answer.error_code == Response.NONE, answer.error_message
    position = answer.views[0].pose.pose.position
    np.testing.assert_allclose((position.x, position.y, position.z), robot.places(3)[0] + (3, 0, 0), atol=1e-5)


def test_odometry_of_a_topic_follows_the_map_frame_too(simulated):
    """pose_source odometry: the pose in the odometry frame comes from a topic, the map frame's correction from TF."""
    robot = Simulated(simulated.now() + SECOND, "/other", pose_topic=True)
    process = started(robot, pose_source="odometry", __ns="/other")
    try:
        robot.fill(0, 2, 4)
        robot.key_frames_at(robot.places(0, 2, 4))
        robot.move_odometry(3.0)
        robot.key_frames_at(robot.places(0, 2, 4) + (3, 0, 0))
        assert robot.diagnostics()["node"]["pose_jumps"] == "1"
    finally:
        assert process.stop()
        robot.close()
