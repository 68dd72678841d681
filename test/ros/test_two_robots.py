# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two robots in namespaces of their own on one DDS domain, with one /tf whose frames have the robots' names."""

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from robot import NodeThread, Robot

from gld_ros.msg import SynthesizedView
from gld_ros.ros import conversions
from gld_ros.srv import SynthesizeViews

Response = SynthesizeViews.Response
OFFSETS = {"robot1": 0.0, "robot2": 40.0}  # of each robot's place in its own map frame, metres along x


class Named(Robot):
    """A robot with its name before its topics and frames."""

    def __init__(self, name):
        super().__init__("camera_driver", f"/{name}")
        self.camera_frame, self.map_frame = f"{name}/camera", f"{name}/map"
        shift = np.eye(4)
        shift[0, 3] = OFFSETS[name]
        self.cameras = [camera.moved(shift @ camera.c2w) for camera in self.cameras]
        self.views = []
        self.node.create_subscription(SynthesizedView, "gld_node/views", self.views.append, 10)


@pytest.fixture(scope="module")
def robots():
    """Both, each with an active gld_node that has three key frames."""
    robots, processes = [], []
    try:
        for name in OFFSETS:
            robots.append(Named(name))
            frames = {"map_frame": f"{name}/map", "view_frame": f"{name}/gld_camera_optical"}
            processes.append(NodeThread(tf_timeout=0.5, __ns=f"/{name}", **frames))
        for robot in robots:
            robot.fill_context(0, 2, 4)
        yield robots
    finally:
        ended = [process.stop() for process in processes]
        for robot in robots:
            robot.close()
    assert ended == [True, True]


def test_each_node_has_its_own_topics_and_frames(robots):
    for robot, name in zip(robots, OFFSETS, strict=True):
        topics = {
            topic
            for ask in (
                robot.node.get_publisher_names_and_types_by_node,
                robot.node.get_subscriber_names_and_types_by_node,
            )
            for topic, _ in ask("gld_node", f"/{name}")
        }
        shared = {"/tf", "/tf_static", "/diagnostics", "/rosout", "/parameter_events"}
        assert {f"/{name}/gld_node/views", f"/{name}/image"} <= topics
        assert all(topic.startswith(f"/{name}/") for topic in topics - shared)
        answer = robot.ask(3, seed=7)
        assert answer.error_code == Response.NONE, answer.error_message
        (view,) = answer.views
        assert view.header.frame_id == f"{name}/gld_camera_optical"
        assert view.pose.header.frame_id == answer.points.header.frame_id == f"{name}/map"
        np.testing.assert_allclose(view.pose.pose.position.x, robot.cameras[3].center[0], atol=1e-5)


def test_frames_of_one_robot_are_no_key_frames_of_the_other(robots):
    one, other = robots
    before = other.counts("/robot2/image")
    one.send(5)
    one.wait(lambda: one.counts("/robot1/image")["key_frames"] == 4, "one more key frame")
    assert other.counts("/robot2/image") == before
    assert other.diagnostics()["node"]["key_frames"] == "3"


def test_a_view_of_one_robot_is_published_by_it_alone(robots):
    for robot in robots:
        robot.views.clear()
    robots[1].ask(1, seed=11)
    robots[1].wait(lambda: robots[1].views, "the view")
    assert [view.seed for view in robots[1].views] == [11] and not robots[0].views


def test_poses_in_the_frames_of_the_other_robot_are_refused(robots):
    """Both trees are known from the one /tf, but nothing joins them."""
    one, other = robots
    (pose,) = one.poses(3)
    pose.header.frame_id, pose.header.stamp = other.camera_frame, conversions.ns_to_stamp(0)
    answer = one.ask(pose)
    assert answer.error_code == Response.TF_ERROR
    assert "'robot2/camera' to 'robot1/map'" in answer.error_message


def test_one_may_stop_while_the_other_works(robots):
    one, other = robots
    assert one.transition(Transition.TRANSITION_DEACTIVATE)
    assert one.ask(3).error_code == Response.NOT_ACTIVE
    assert other.ask(3).error_code == Response.NONE
    assert {one.diagnostics()["node"]["state"], other.diagnostics()["node"]["state"]} == {"inactive", "active"}
    assert one.transition(Transition.TRANSITION_ACTIVATE)
    assert one.ask(3).error_code == Response.NONE
