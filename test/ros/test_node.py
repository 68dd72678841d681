# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_node over DDS: requests by service, action and topic, what ends them, and what can be wrong with them."""

import threading
import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from lifecycle_msgs.msg import Transition
from robot import NodeThread, logged
from sensor_msgs.msg import CameraInfo, PointCloud2
from visualization_msgs.msg import MarkerArray

from gld_ros.action import SynthesizeTrajectory
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
    robot.wait(lambda: robot.node.count_subscribers("gld_node/views") == 1, "the listener")
    time.sleep(0.5)  # the node's publisher has to match it, too
    answer = robot.synthesize(request(robot, 1, 3, seed=5))
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
    (one,) = robot.synthesize(request(robot, 3)).views
    (several,) = robot.synthesize(request(robot, 3, samples=2)).views
    assert (one.samples, several.samples) == (1, 2) and one.calibrated and several.calibrated
    assert several.image == one.image and several.confidence != one.confidence
    assert 0 < one.novelty == several.novelty < 1
    assert robot.set_parameter("max_novelty", 0.5 * one.novelty) == ""
    refused = robot.synthesize(request(robot, 3))
    assert refused.error_code == Response.NO_CONTEXT and "too far beyond the sources" in refused.error_message
    assert robot.set_parameter("max_novelty", 1.0) == ""


def test_depth_bounds_where_they_are_asked_for(robot, node):
    """Around the depth, wider for more coverage; without them an answer is as it was."""
    plain, wide, wider = (
        robot.synthesize(request(robot, 3, depth_coverage=coverage)).views[0] for coverage in (0.0, 0.8, 0.95)
    )
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


def test_requested_camera_axes_and_stamp(robot, node):
    header = conversions.Header(stamp=conversions.ns_to_stamp(robot.send(0)), frame_id="camera")
    body = conversions.pose_to_msg(np.linalg.inv(conversions.BODY_FROM_OPTICAL), header)  # the camera itself
    camera = robot.cameras[0].resized(96, 72)
    answer = robot.synthesize(
        SynthesizeViews.Request(
            poses=[body], axes=SynthesizeViews.Request.BODY, camera_info=conversions.info_from_camera(camera, header)
        )
    )
    assert answer.error_code == Response.NONE, answer.error_message
    (view,) = answer.views
    assert (view.image.width, view.image.height) == (96, 72)
    assert view.header.stamp == header.stamp
    np.testing.assert_allclose(view.camera_info.k, conversions.info_from_camera(camera, header).k)
    np.testing.assert_allclose(conversions.pose_to_matrix(view.pose.pose), camera.c2w, atol=1e-6)


def bad_pose(robot, **quaternion):
    (pose,) = robot.poses(1)
    for name, value in quaternion.items():
        setattr(pose.pose.orientation, name, value)
    return pose


def in_frame(robot, frame, stamp=0):
    (pose,) = robot.poses(1)
    pose.header.frame_id, pose.header.stamp = frame, conversions.ns_to_stamp(stamp)
    return pose


def budget(sec=0, nanosec=0):
    return SynthesizeViews.Request().time_budget.__class__(sec=sec, nanosec=nanosec)


def info_of(width, height, roi_width=0):
    info = CameraInfo(width=width, height=height, k=[50.0, 0, 32, 0, 50, 24, 0, 0, 1])
    info.roi.width = roi_width
    return info


BAD_REQUESTS = {
    "no pose": (lambda r: {"poses": []}, "INVALID_REQUEST", "poses is empty"),
    "hundred poses": (lambda r: {"poses": r.poses(1) * 100}, "INVALID_REQUEST", "100 poses, at most 32"),
    "NaN": (lambda r: {"poses": [*r.poses(1), bad_pose(r, x=float("nan"))]}, "INVALID_REQUEST", "poses[1]: holds NaN"),
    "norm 0": (
        lambda r: {"poses": [bad_pose(r, x=0.0, y=0.0, z=0.0, w=0.0)]},
        "INVALID_REQUEST",
        "poses[0]: the quaternion has norm 0",
    ),
    "too many pixels": (
        lambda r: {"poses": r.poses(1) * 9, "camera_info": info_of(4096, 4096)},
        "INVALID_REQUEST",
        "9 views of 4096x4096 pixels, at most",
    ),
    "roi": (
        lambda r: {"poses": r.poses(1), "camera_info": info_of(64, 48, 4_000_000_000)},
        "INVALID_REQUEST",
        "does not lie within 64x48",
    ),
    "samples": (
        lambda r: {"poses": r.poses(1), "samples": 65},
        "INVALID_REQUEST",
        "samples is 65, expected at most 64",
    ),
    "many samples": (
        lambda r: {"poses": r.poses(1), "samples": 5, "camera_info": info_of(4096, 4096)},
        "INVALID_REQUEST",
        "1 views of 4096x4096 pixels in 5 samples, at most",
    ),
    "coverage": (
        lambda r: {"poses": r.poses(1), "depth_coverage": 0.7},
        "INVALID_REQUEST",
        "coverage is 0.7, calibrated are 0.5, 0.8, 0.9, 0.95",
    ),
    "axes": (lambda r: {"poses": r.poses(1), "axes": 9}, "INVALID_REQUEST", "axes is 9"),
    "time budget": (lambda r: {"poses": r.poses(1), "time_budget": budget(sec=-1)}, "INVALID_REQUEST", "time_budget"),
    "zero K": (
        lambda r: {"poses": r.poses(1), "camera_info": CameraInfo(width=64, height=48)},
        "INVALID_REQUEST",
        "fx=0",
    ),
    "size": (
        lambda r: {"poses": r.poses(1), "camera_info": CameraInfo(width=9000, height=9000, k=[1.0] * 9)},
        "INVALID_REQUEST",
        "9000x9000",
    ),
    "unknown frame": (lambda r: {"poses": [in_frame(r, "nowhere")]}, "TF_ERROR", "'nowhere' to 'map'"),
    "stamp without TF": (lambda r: {"poses": [in_frame(r, "camera", 10**9)]}, "TF_ERROR", "'camera' to 'map'"),
    "no time": (lambda r: {"poses": r.poses(1), "time_budget": budget(nanosec=1)}, "TIMEOUT", "time budget"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_request(robot, node, name):
    fields, code, reason = BAD_REQUESTS[name]
    answer = robot.synthesize(SynthesizeViews.Request(**fields(robot)))
    assert answer.error_code == getattr(Response, code) and reason in answer.error_message
    assert answer.views == [] and answer.points.width == 0
    assert robot.synthesize(request(robot, 1)).error_code == Response.NONE  # the node goes on


def test_looking_away_is_no_context(robot, node):
    (pose,) = robot.poses(1)
    camera = robot.cameras[1]
    turned = camera.c2w @ np.diag([-1.0, 1, -1, 1])
    pose.pose = conversions.matrix_to_pose(turned)
    (small,) = [camera.resized(192, 144)]
    info = conversions.info_from_camera(small, conversions.Header())
    info.k[0] = info.k[4] = 4000.0  # a tele lens that sees only what is behind
    answer = robot.synthesize(SynthesizeViews.Request(poses=[pose], camera_info=info))
    assert answer.error_code == Response.NO_CONTEXT and "looks at" in answer.error_message


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


def test_bad_goal(robot, node):
    handle = robot.result(robot.action.send_goal_async(SynthesizeTrajectory.Goal()), "acceptance")
    answer = robot.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.error_code == Response.INVALID_REQUEST


def test_request_topic(robot, node):
    views = []
    listener = robot.node.create_subscription(SynthesizedView, "gld_node/views", views.append, 10)
    robot.set_parameter("request_axes", "optical")
    (pose,) = robot.poses(1)

    def asked():
        robot.request.publish(pose)
        time.sleep(1)
        return views

    robot.wait(asked, "a view for a pose on ~/request")
    check_view(views[0], robot, 1)
    robot.request.publish(bad_pose(robot, x=float("nan")))
    robot.wait(logged(node, r"INVALID_REQUEST: poses\[0\]: holds NaN"), "warning")
    worker = node.node.requests.worker  # of the poses above some may still wait
    robot.wait(lambda: not worker.busy and not worker.waiting, "the last of the requests")
    robot.node.destroy_subscription(listener)


def slow(robot):
    """A context manager: requests take far longer than anything asked meanwhile."""

    class Slow:
        def __enter__(self):
            assert robot.set_parameter("steps", 1000) == ""

        def __exit__(self, *_):
            robot.set_parameter("steps", 0)

    return Slow()


def start_goal(robot, *indices):
    """A goal whose first feedback has come."""
    feedback = []
    goal = SynthesizeTrajectory.Goal(poses=robot.poses(*indices))
    handle = robot.result(robot.action.send_goal_async(goal, feedback.append), "acceptance")
    robot.wait(lambda: feedback, "feedback")
    return handle


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
        invalid = robot.synthesize(SynthesizeViews.Request())
        assert invalid.error_code == Response.INVALID_REQUEST
        waiting = robot.service.call_async(request(robot, 3, time_budget=budget(sec=1)))
        assert robot.get_parameter("map_frame").string_value == "map"
        assert robot.result(waiting).error_code == Response.TIMEOUT  # it waited its second and was told so
        second = robot.result(robot.action.send_goal_async(SynthesizeTrajectory.Goal(poses=robot.poses(3))), "second")
        robot.wait(lambda: len(sent) >= 90, "three seconds of camera")
        assert robot.result(second.cancel_goal_async(), "cancel").goals_canceling  # while it still waits
        assert robot.result(second.get_result_async(), "result").status == GoalStatus.STATUS_CANCELED
        stop.set()
        thread.join()
        assert handle.status in (GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING)
        after = robot.counts("/image")
        assert robot.result(handle.cancel_goal_async(), "cancel").goals_canceling
        answer = robot.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.error_code == SynthesizeTrajectory.Result.CANCELLED
    assert after["received"] - before["received"] == len(sent)
    assert after["dropped"] == before["dropped"]
    assert robot.synthesize(request(robot, 1)).error_code == Response.NONE


def test_a_time_budget_is_met_with_fewer_steps(robot, node):
    """A thousand steps do not fit, a faster preset or the steps there is time for do."""
    with slow(robot):
        answer = robot.synthesize(request(robot, 1, 3, time_budget=budget(sec=30)))
    assert answer.error_code == Response.NONE, answer.error_message
    assert len(answer.views) == 2
    assert all(view.preset in ("balanced", "fast") or not view.complete for view in answer.views)


def test_too_many_requests_are_refused(robot, node):
    with slow(robot):
        handle = start_goal(robot, 1)
        waiting = [robot.service.call_async(request(robot, 1, time_budget=budget(sec=2))) for _ in range(4)]
        codes = sorted(robot.result(answer).error_code for answer in waiting)
        assert codes == sorted([Response.CANCELLED] + 3 * [Response.TIMEOUT])
        robot.result(handle.cancel_goal_async(), "cancel")
        robot.result(handle.get_result_async(), "result")


def test_a_trajectory_out_of_time_keeps_what_is_finished(robot, node):
    assert robot.synthesize(request(robot, 1)).error_code == Response.NONE
    goal = SynthesizeTrajectory.Goal(poses=robot.poses(*[1, 3] * 15), time_budget=budget(sec=3))
    handle = robot.result(robot.action.send_goal_async(goal), "acceptance")
    answer = robot.result(handle.get_result_async(), "result")
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.error_code == SynthesizeTrajectory.Result.TIMEOUT
    assert len(answer.result.views) < 30 and bool(answer.result.views) == bool(answer.result.points.width)


def test_lifecycle_and_bad_models(robot, node, tmp_path):
    """Deactivating answers what runs; after cleaning up and starting again the node works as before."""
    with slow(robot):
        running = robot.service.call_async(request(robot, 1))
        time.sleep(1)
        assert robot.transition(Transition.TRANSITION_DEACTIVATE)
        answer = robot.result(running)
        assert answer.error_code == Response.CANCELLED and "deactivated" in answer.error_message
    assert robot.synthesize(request(robot, 1)).error_code == Response.NOT_ACTIVE
    assert robot.image.get_subscription_count() == 0
    assert robot.transition(Transition.TRANSITION_CLEANUP)
    assert not robot.transition(Transition.TRANSITION_ACTIVATE)
    assert robot.transition(Transition.TRANSITION_CONFIGURE)
    assert robot.transition(Transition.TRANSITION_ACTIVATE)
    answer = robot.synthesize(request(robot, 1))
    assert answer.error_code == Response.NO_CONTEXT and "no frame" in answer.error_message
    robot.fill_context(0)
    assert robot.synthesize(request(robot, 1)).error_code == Response.SCALE_UNKNOWN  # one view, no baseline
    robot.fill_context(2, 4)
    assert robot.synthesize(request(robot, 1)).error_code == Response.NONE
