# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_node with a Gen3R of random weights: a clip by service and by action, progress and cancel between its steps."""

import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from builders.gen3r_folder import TINY, tiny_gen3r_folder
from robot import NodeThread
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from gld_ros.action import SynthesizeTrajectory
from gld_ros.ros import conversions
from gld_ros.srv import SynthesizeViews

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
Response = SynthesizeViews.Response
#: Columns of a picture of 192x144 that a square frame shows.
SHOWN = slice(24, 168)


@pytest.fixture(scope="module")
def node(robot, tmp_path_factory):
    """An active node with a key frame that a depth sensor sees: metres, whatever random weights say of cameras."""
    folder = tiny_gen3r_folder(tmp_path_factory.mktemp("gen3r") / "tiny")
    depth = robot.node.create_publisher(Image, "depth", 10)
    with NodeThread(model=folder, depth_topics="[depth]", tf_timeout=0.5, steps=2) as process:

        def sensed():
            header = Header(stamp=conversions.ns_to_stamp(robot.send(0)), frame_id=robot.camera_frame)
            depth.publish(conversions.image_to_msg(np.full((144, 192), 2, np.float32), "32FC1", header))
            time.sleep(0.05)
            return [frame for frame in process.node.key_frames.frames() if frame.depth is not None]

        robot.wait(sensed, "a key frame with depth")
        yield process
    robot.node.destroy_publisher(depth)


def check_view(view):
    assert (view.image.width, view.image.height) == (192, 144)
    assert (view.model, view.scale_method, len(view.source_stamps)) == (TINY.name, "depth", 1)
    depth = np.frombuffer(view.depth.data, np.float32).reshape(144, 192)
    generated = np.frombuffer(view.generated.data, np.uint8).reshape(144, 192)
    known = np.isfinite(depth)
    assert known[:, SHOWN].all() and not known[:, :22].any() and not known[:, 170:].any()
    assert (generated[~known] == 255).all()
    return known.sum()


def test_service(robot, node):
    answer = robot.ask(1, 2)
    assert (answer.error_code, answer.error_message) == (Response.NONE, "")
    assert answer.points.width == sum(check_view(view) for view in answer.views)


def test_action_with_progress_and_cancel(robot, node):
    feedback = []
    goal = SynthesizeTrajectory.Goal(poses=robot.poses(1, 2))
    handle = robot.result(robot.action.send_goal_async(goal, lambda m: feedback.append(m.feedback)), "acceptance")
    answer = robot.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.error_message
    check_view(answer.result.views[1])
    told = [(message.step, message.steps) for message in feedback]
    assert told == [(1, 1), (1, 2), (2, 2), (1, 1)]  # encoded, two steps, decoded

    feedback.clear()
    assert robot.set_parameter("steps", 1000) == ""
    handle = robot.result(robot.action.send_goal_async(goal, lambda m: feedback.append(m.feedback)), "acceptance")
    robot.wait(lambda: [message for message in feedback if message.steps == 1000], "the first step")
    assert robot.result(handle.cancel_goal_async(), "cancel").goals_canceling
    answer = robot.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_CANCELED and not answer.result.views
    assert 1 <= feedback[-1].step < 1000
    assert robot.set_parameter("steps", 2) == ""
    assert robot.ask(1).error_code == Response.NONE  # the node goes on
