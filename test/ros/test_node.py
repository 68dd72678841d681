# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_node over DDS: requests by service, action and topic, what ends them, and what can be wrong with them."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from lifecycle_msgs.msg import Transition
from robot import NodeThread
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from gld_ros.action import SynthesizeTrajectory
from gld_ros.geometry.se3 import interpolate_pose
from gld_ros.msg import SynthesizedView
from gld_ros.ros import conversions
from gld_ros.srv import SynthesizeViews

Response = SynthesizeViews.Response


@pytest.fixture(scope="module")
def node(robot):
    """An active node with three key frames."""
    with NodeThread(input_timeout=1.0, tf_timeout=0.5, max_requests=3) as process:
        robot.fill_context(0, 2, 4)
        yield process


def request(robot, *indices, **fields):
    return SynthesizeViews.Request(poses=robot.poses(*indices), **fields)


def check_view(view, robot, index):
    assert (view.image.width, view.image.height, view.image.encoding) == (192, 144, "rgb8")
    assert (view.depth.encoding, view.generated.encoding) == ("32FC1", "mono8")
    assert view.header.frame_id == view.camera_info.header.frame_id == "gld_camera_optical"
    assert view.pose.header.frame_id == "map"
    np.testing.assert_allclose(conversions.pose_to_matrix(view.pose.pose), robot.cameras[index].c2w, atol=1e-6)
    depth = np.frombuffer(view.depth.data, np.float32)
    assert (depth[np.isfinite(depth)] > 0).all() and np.isfinite(depth).any()
    assert set(np.unique(np.frombuffer(view.generated.data, np.uint8))) <= {0, 255}
    assert view.scale > 0 and view.scale_method == "stereo"
    assert view.model and len(view.source_stamps) == 2
    assert (view.preset, view.complete) == ("exact", True)


def test_service(robot, node):
    heard = {"views": [], "points": [], "frusta": []}
    kinds = {"views": SynthesizedView, "points": PointCloud2, "frusta": MarkerArray}
    listeners = [
        robot.node.create_subscription(kind, f"gld_node/{name}", heard[name].append, 10) for name, kind in kinds.items()
    ]
    robot.wait(node.hears_and_is_heard(*(f"~/{name}" for name in kinds)), "the listeners")
    answer = robot.ask(1, 3, seed=5)
    assert (answer.error_code, answer.error_message) == (Response.NONE, "")
    assert [view.seed for view in answer.views] == [5, 5]
    check_view(answer.views[0], robot, 1)
    check_view(answer.views[1], robot, 3)
    finite = sum(np.isfinite(np.frombuffer(view.depth.data, np.float32)).sum() for view in answer.views)
    assert answer.points.header.frame_id == "map" and answer.points.width == finite
    assert answer.latency > 0
    robot.wait(lambda: len(heard["views"]) == 2 and heard["points"], "topics")
    assert heard["views"][0] == answer.views[0]
    assert robot.wait(lambda: [m for m in heard["frusta"] if m.markers[1].points], "frusta of the requests")
    for listener in listeners:
        robot.node.destroy_subscription(listener)


def test_samples_and_novelty(robot, node):
    (one,) = robot.ask(3).views
    (several,) = robot.ask(3, samples=2).views
    assert (one.samples, several.samples) == (1, 2) and one.calibrated and several.calibrated
    assert several.image == one.image and several.confidence != one.confidence
    assert 0 < one.novelty == several.novelty < 1
    assert robot.set_parameter("max_novelty", 0.5 * one.novelty) == ""
    refused = robot.ask(3)
    assert refused.error_code == Response.NO_CONTEXT and "too far beyond the sources" in refused.error_message
    assert robot.set_parameter("max_novelty", 1.0) == ""


def test_depth_bounds_where_they_are_asked_for(robot, node):
    """Around the depth, wider for more coverage; without them an answer is as it was."""
    plain, wide, wider = (robot.ask(3, depth_coverage=coverage).views[0] for coverage in (0.0, 0.8, 0.95))
    assert plain.depth_coverage == 0 and plain.depth_lower.width == plain.depth_upper.width == 0
    assert (wide.depth_coverage, wider.depth_coverage) == (pytest.approx(0.8), pytest.approx(0.95))
    assert wide.depth == plain.depth and wide.depth_lower.header == wide.depth.header
    assert wide.depth_lower.encoding == wide.depth_upper.encoding == "32FC1"
    depth, lower, upper, lowest, highest = (
        np.frombuffer(image.data, np.float32)
        for image in (wide.depth, wide.depth_lower, wide.depth_upper, wider.depth_lower, wider.depth_upper)
    )
    known = np.isfinite(depth)
    assert np.array_equal(known, np.isfinite(lower)) and np.array_equal(known, np.isfinite(upper))
    assert (lowest[known] < lower[known]).all() and (lower[known] < depth[known]).all()
    assert (depth[known] < upper[known]).all() and (upper[known] < highest[known]).all()
    refused = robot.ask(3, depth_coverage=0.7)
    assert "coverage is 0.7, calibrated are 0.5, 0.8, 0.9, 0.95" in refused.error_message


def test_requested_camera_axes_and_stamp(robot, node):
    header = conversions.Header(stamp=conversions.ns_to_stamp(robot.send(0)), frame_id="camera")
    body = conversions.pose_to_msg(np.linalg.inv(conversions.BODY_FROM_OPTICAL), header)  # the camera itself
    camera = robot.cameras[0].resized(96, 72)
    info = conversions.info_from_camera(camera, header)
    answer = robot.ask(body, axes=SynthesizeViews.Request.BODY, camera_info=info)
    assert answer.error_code == Response.NONE, answer.error_message
    (view,) = answer.views
    assert (view.image.width, view.image.height) == (96, 72)
    assert view.header.stamp == header.stamp
    np.testing.assert_allclose(view.camera_info.k, info.k)
    np.testing.assert_allclose(conversions.pose_to_matrix(view.pose.pose), camera.c2w, atol=1e-6)


def test_action_with_feedback(robot, node):
    feedback = []
    goal = SynthesizeTrajectory.Goal(poses=robot.poses(1, 3))
    handle = robot.result(robot.action.send_goal_async(goal, lambda m: feedback.append(m.feedback)), "acceptance")
    answer = robot.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_SUCCEEDED and answer.result.error_code == Response.NONE
    check_view(answer.result.views[1], robot, 3)
    assert {message.view for message in feedback} == {0}  # both are generated together
    fractions = [message.fraction for message in feedback]
    assert fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] <= 1
    assert all(message.step <= message.steps for message in feedback)
    assert feedback[-1].preview.encoding in ("", "rgb8")


def test_request_topic(robot, node):
    views = []
    listener = robot.node.create_subscription(SynthesizedView, "gld_node/views", views.append, 10)
    robot.wait(node.hears_and_is_heard("~/request", "~/views"), "the topics")
    robot.set_parameter("request_axes", "optical")
    robot.request.publish(*robot.poses(1))
    robot.wait(lambda: views, "a view for a pose on ~/request")
    check_view(views[0], robot, 1)
    robot.node.destroy_subscription(listener)


@contextmanager
def slow(robot):
    """Requests take far longer than anything asked meanwhile."""
    assert robot.set_parameter("steps", 1000) == ""
    try:
        yield
    finally:
        robot.set_parameter("steps", 0)


def start_goal(robot, *indices):
    """A goal whose first feedback has come."""
    feedback = []
    goal = SynthesizeTrajectory.Goal(poses=robot.poses(*indices))
    handle = robot.result(robot.action.send_goal_async(goal, feedback.append), "acceptance")
    robot.wait(lambda: feedback, "feedback")
    return handle


def test_a_path_of_more_views_than_the_model_makes_together(robot, node):
    """In windows of 10 and 6: feedback names the first view of the window, and a cancel keeps the finished window."""
    robot.set_parameter("steps", 1)
    key_frames = robot.diagnostics()["node"]["key_frames"]
    poses = [interpolate_pose(robot.cameras[1].c2w, robot.cameras[4].c2w, share) for share in np.linspace(0, 1, 16)]
    messages = [conversions.pose_to_msg(pose, conversions.Header(frame_id="map")) for pose in poses]
    goal, feedback = SynthesizeTrajectory.Goal(poses=messages), []
    handle = robot.result(robot.action.send_goal_async(goal, lambda m: feedback.append(m.feedback)), "acceptance")
    answer = robot.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_SUCCEEDED, answer.result.error_message
    assert len(answer.result.views) == 16
    for view, pose in zip(answer.result.views, poses, strict=True):
        np.testing.assert_allclose(conversions.pose_to_matrix(view.pose.pose), pose, atol=1e-6)
        assert len(view.source_stamps) == 2 and 0 in np.frombuffer(view.generated.data, np.uint8)
    assert [message.view for message in feedback] == sorted(message.view for message in feedback)
    assert {message.view for message in feedback} == {0, 10}
    fractions = [message.fraction for message in feedback]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)
    assert robot.diagnostics()["node"]["key_frames"] == key_frames  # generated views are none

    feedback.clear()
    handle = robot.result(robot.action.send_goal_async(goal, lambda m: feedback.append(m.feedback)), "acceptance")
    robot.wait(lambda: feedback, "the first window")
    with slow(robot):  # the second one
        robot.wait(lambda: feedback[-1].view == 10, "the second window")
        robot.result(handle.cancel_goal_async(), "cancel")
        answer = robot.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert len(answer.result.views) == 10 and answer.result.points.width


def test_a_running_request_blocks_nothing(robot, node):
    """Must-show 4: a 30 Hz camera, a second request, a cancel and a parameter read while the model works."""
    before = robot.counts("/image")
    sent = []
    stop = threading.Event()

    def camera():
        vga = conversions.image_to_msg(np.zeros((480, 640, 3), np.uint8), "rgb8", conversions.Header())
        while not stop.wait(1 / 30):
            sent.append(robot.send(0, image=vga))

    with slow(robot):
        handle = start_goal(robot, 1)
        thread = threading.Thread(target=camera)
        thread.start()
        invalid = robot.ask()
        assert invalid.error_code == Response.INVALID_REQUEST
        waiting = robot.service.call_async(request(robot, 3, time_budget=Duration(sec=1)))
        assert robot.get_parameter("map_frame").string_value == "map"
        assert robot.result(waiting).error_code == Response.TIMEOUT  # it waited its second and was told so
        second = robot.result(robot.action.send_goal_async(SynthesizeTrajectory.Goal(poses=robot.poses(3))), "second")
        robot.wait(lambda: len(sent) >= 60, "two seconds of camera")
        assert robot.result(second.cancel_goal_async(), "cancel").goals_canceling  # while it still waits
        assert robot.result(second.get_result_async(), "result").status == GoalStatus.STATUS_CANCELED
        stop.set()
        thread.join()
        assert handle.status in (GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING)
        robot.wait(lambda: robot.counts("/image")["received"] - before["received"] == len(sent), "all images")
        assert robot.result(handle.cancel_goal_async(), "cancel").goals_canceling
        answer = robot.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.error_code == SynthesizeTrajectory.Result.CANCELLED
    assert robot.counts("/image")["dropped"] == before["dropped"]
    assert robot.ask(1).error_code == Response.NONE


def test_a_time_budget_is_met_with_fewer_steps(robot, node):
    """A thousand steps do not fit, a faster preset or the steps there is time for do."""
    with slow(robot):
        answer = robot.ask(1, 3, time_budget=Duration(sec=30))
    assert answer.error_code == Response.NONE, answer.error_message
    assert len(answer.views) == 2
    assert all(view.preset in ("balanced", "fast") or not view.complete for view in answer.views)


def test_a_trajectory_out_of_time_keeps_what_is_finished(robot, node):
    assert robot.ask(1).error_code == Response.NONE
    goal = SynthesizeTrajectory.Goal(poses=robot.poses(*[1, 3] * 15), time_budget=Duration(sec=2))
    handle = robot.result(robot.action.send_goal_async(goal), "acceptance")
    answer = robot.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.error_code == SynthesizeTrajectory.Result.TIMEOUT
    assert len(answer.result.views) < 30 and bool(answer.result.views) == bool(answer.result.points.width)


def test_lifecycle(robot, node):
    """After cleaning up and starting again the node works as before."""
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    assert robot.ask(1).error_code == Response.NOT_ACTIVE
    assert robot.image.get_subscription_count() == 0
    assert robot.transition(Transition.TRANSITION_CLEANUP)
    assert not robot.transition(Transition.TRANSITION_ACTIVATE)
    assert robot.transition(Transition.TRANSITION_CONFIGURE)
    assert robot.transition(Transition.TRANSITION_ACTIVATE)
    answer = robot.ask(1)
    assert answer.error_code == Response.NO_CONTEXT and "no frame" in answer.error_message
    robot.fill_context(0)
    assert robot.ask(1).error_code == Response.SCALE_UNKNOWN  # one view, no baseline
    robot.fill_context(2, 4)
    assert robot.ask(1).error_code == Response.NONE
