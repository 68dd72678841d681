# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults of clients, parameters, disks and whoever changes the lifecycle."""

import math
import resource
import signal
import threading
import time
from functools import partial

import pytest
import rclpy
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from dds import PATIENCE
from lifecycle_msgs.msg import Transition
from patient import Response
from rclpy.action import ActionClient
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_srvs.srv import SetBool, Trigger

from gld_ros.action import SynthesizeTrajectory
from gld_ros.srv import LoadMap, SaveMap, SynthesizeViews

NAN, INF = math.nan, math.inf


def at(patient, frame="map", stamp=0, **position):
    pose = patient.pose(0.1, frame, stamp)
    for name, value in position.items():
        setattr(pose.pose.orientation if name == "w" else pose.pose.position, name, value)
    return pose


def camera(**values):
    return {"camera_info": CameraInfo(**{"width": 64, "height": 48, "k": [50.0, 0, 32, 0, 50, 24, 0, 0, 1], **values})}


#: Poses and fields of a request, the codes it may be answered with, and what the answer says.
REQUESTS = {
    "no pose": (lambda p: [], {}, "INVALID_REQUEST", "poses is empty"),
    "a thousand poses": (lambda p: [p.pose()] * 1000, {}, "INVALID_REQUEST", "1000 poses, at most 32"),
    "position NaN": (lambda p: [p.pose(), at(p, x=NAN)], {}, "INVALID_REQUEST", "poses[1]: holds NaN"),
    "position infinite": (lambda p: [at(p, y=-INF)], {}, "INVALID_REQUEST"),
    "position beyond all numbers": (lambda p: [at(p, z=1e300)], {}, "INVALID_REQUEST"),
    "quaternion beyond all numbers": (lambda p: [at(p, w=1e200)], {}, "INVALID_REQUEST"),
    "far away": (lambda p: [at(p, x=1e8)], {}, "NO_CONTEXT NONE"),
    "quaternion zero": (lambda p: [at(p, w=0.0)], {}, "INVALID_REQUEST", "poses[0]: the quaternion has norm 0"),
    "quaternion NaN": (lambda p: [at(p, w=NAN)], {}, "INVALID_REQUEST", "poses[0]: holds NaN"),
    "unknown frame": (lambda p: [at(p, "nowhere")], {}, "TF_ERROR", "'nowhere' to 'map'"),
    "frame of spaces": (lambda p: [at(p, "   ")], {}, "TF_ERROR"),
    "frame of slashes": (lambda p: [at(p, "///")], {}, "TF_ERROR"),
    "stamp of long ago": (lambda p: [at(p, "camera", 1)], {}, "TF_ERROR", "'camera' to 'map'"),
    "stamp of the future": (lambda p: [at(p, "camera", 2**60)], {}, "TF_ERROR"),
    "unknown axes": (lambda p: [p.pose()], {"axes": 255}, "INVALID_REQUEST", "axes is 255"),
    "negative budget": (lambda p: [p.pose()], {"time_budget": Duration(sec=-5)}, "INVALID_REQUEST", "time_budget"),
    "budget of a nanosecond": (lambda p: [p.pose()], {"time_budget": Duration(nanosec=1)}, "TIMEOUT", "time budget"),
    "K zero": (lambda p: [p.pose()], camera(k=[0.0] * 9), "INVALID_REQUEST", "K is all zeros"),
    "K NaN": (lambda p: [p.pose()], camera(k=[NAN] * 9), "INVALID_REQUEST"),
    "picture of four billion columns": (lambda p: [p.pose()], camera(width=2**32 - 1), "INVALID_REQUEST", "4294967295"),
    "picture without rows": (lambda p: [p.pose()], camera(height=0), "INVALID_REQUEST"),
    "too many pixels": (
        lambda p: [p.pose()] * 9, camera(width=4096, height=4096), "INVALID_REQUEST",
        "9 views of 4096x4096 pixels, at most",
    ),
    "too many samples": (lambda p: [p.pose()], {"samples": 65}, "INVALID_REQUEST", "samples is 65, expected at most"),
    "too many pixels in samples": (
        lambda p: [p.pose()], {"samples": 5} | camera(width=4096, height=4096), "INVALID_REQUEST",
        "1 views of 4096x4096 pixels in 5 samples, at most",
    ),
    "region outside of the image": (
        lambda p: [p.pose()], camera(roi=RegionOfInterest(width=4_000_000_000)), "INVALID_REQUEST",
        "does not lie within 64x48",
    ),
    "lens of a kilometre": (lambda p: [p.pose()], camera(k=[1e9, 0, 32, 0, 1e9, 24, 0, 0, 1]), "NONE NO_CONTEXT"),
    "coverage of a model that is not calibrated": (lambda p: [p.pose()], {"depth_coverage": 0.9}, "INVALID_REQUEST"),
    "coverage NaN": (lambda p: [p.pose()], {"depth_coverage": NAN}, "INVALID_REQUEST"),
    "coverage infinite": (lambda p: [p.pose()], {"depth_coverage": INF}, "INVALID_REQUEST"),
    "binning too large": (lambda p: [p.pose()], camera(binning_x=4_000_000_000), "INVALID_REQUEST"),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_request(patient, name):
    """As a service and as an action."""
    patient.good()
    poses, fields, codes, *reason = REQUESTS[name]
    allowed = {getattr(Response, code) for code in codes.split()}
    answer = patient.result(patient.submit(*poses(patient), **fields))
    done = patient.result(patient.goal(*poses(patient), **fields).get_result_async())
    assert done.status == (GoalStatus.STATUS_SUCCEEDED if done.result.views else GoalStatus.STATUS_ABORTED)
    for found in (answer, done.result):
        assert found.error_code in allowed, (found.error_code, found.error_message)
        assert (found.error_message == "") == (found.error_code == Response.NONE) == bool(found.views)
        assert all(text in found.error_message for text in reason), found.error_message
        assert bool(found.points.width) == bool(found.views)
    patient.good()


def flood(patient):
    """More than may wait: the rest is refused by name, and none is lost before the node takes it."""
    release = threading.Event()
    patient.model.fault = lambda stage: release.wait(PATIENCE)
    answers = [patient.submit(patient.pose(patient.x)) for _ in range(40)]
    patient.wait(lambda: sum(answer.done() for answer in answers) >= 4, "refusals")
    release.set()
    codes = [patient.result(answer).error_code for answer in answers]
    assert set(codes) == {Response.NONE, Response.CANCELLED}


def service_client_vanishes(patient):
    other = rclpy.create_node("vanishing")
    client = other.create_client(SynthesizeViews, "gld_node/synthesize")
    assert client.wait_for_service(PATIENCE)
    patient.model.fault = lambda stage: time.sleep(0.1)
    client.call_async(SynthesizeViews.Request(poses=[patient.pose(patient.x)]))
    patient.wait(lambda: patient.gld_node.requests.worker.busy, "work")
    other.destroy_node()


def action_client_vanishes(patient):
    other = rclpy.create_node("vanishing")
    client = ActionClient(other, SynthesizeTrajectory, "gld_node/synthesize_trajectory")
    assert client.wait_for_server(PATIENCE)
    patient.model.fault = lambda stage: time.sleep(0.1)
    client.send_goal_async(SynthesizeTrajectory.Goal(poses=[patient.pose(patient.x)]))
    patient.wait(lambda: patient.gld_node.requests.worker.busy, "work")
    client.destroy()
    other.destroy_node()


def cancels_what_is_done(patient):
    handle = patient.goal(patient.pose(patient.x))
    assert patient.result(handle.get_result_async()).result.error_code == Response.NONE
    patient.result(handle.cancel_goal_async())


def cancels_twice(patient):
    patient.model.fault = lambda stage: time.sleep(0.1)
    handle = patient.goal(patient.pose(patient.x))
    answers = [handle.cancel_goal_async() for _ in range(2)]
    assert patient.result(handle.get_result_async()).result.error_code == Response.CANCELLED
    for answer in answers:
        patient.result(answer)


def cancels_at_once(patient):
    """Before the goal could begin."""
    future = patient.action.send_goal_async(SynthesizeTrajectory.Goal(poses=[patient.pose(patient.x)]))
    handle = patient.result(future)
    handle.cancel_goal_async()
    code = patient.result(handle.get_result_async()).result.error_code
    assert code in (Response.NONE, Response.CANCELLED)


def pose_topic_nan(patient):
    before = patient.received("/gld_node/request", "dropped_refused")

    def refused():
        patient.request.publish(at(patient, x=NAN))
        time.sleep(0.02)
        return patient.received("/gld_node/request", "dropped_refused") > before

    patient.wait(refused, "a refusal")


def context_is_cleared_at_work(patient):
    patient.model.fault = lambda stage: time.sleep(0.1)
    waiting = patient.submit(patient.pose(patient.x))
    assert patient.call(patient.node.create_client(Trigger, "gld_node/clear_context")).success
    # It was done before, it had not begun, or it was at work.
    assert patient.result(waiting).error_code in (Response.NONE, Response.NO_CONTEXT, Response.CANCELLED)


def follow_without_listeners(patient):
    follow = patient.node.create_client(SetBool, "gld_node/follow")
    for on in (True, True, False, False):
        assert patient.call(follow, data=on).success


def wrong_transitions(patient):
    """Not allowed here, or not there at all."""
    for number in (1, 2, 3, 0, 99, 255):
        assert not patient.transition(number)
    assert not patient.call(patient.change_state, transition=Transition(label="no such transition")).success


def restarts_at_work(patient):
    patient.model.fault = lambda stage: time.sleep(0.1)
    waiting = [patient.submit(patient.pose(patient.x)) for _ in range(3)]
    assert all(patient.restart())
    assert {patient.result(answer).error_code for answer in waiting} <= {Response.CANCELLED, Response.NOT_ACTIVE}


OTHERS = (
    flood, service_client_vanishes, action_client_vanishes, cancels_what_is_done, cancels_twice, cancels_at_once,
    pose_topic_nan, context_is_cleared_at_work, follow_without_listeners, wrong_transitions, restarts_at_work,
)  # fmt: skip


@pytest.mark.parametrize("fault", OTHERS, ids=lambda fault: fault.__name__)
def test_client(patient, fault):
    patient.good()
    fault(patient)
    patient.good()


PARAMETERS = {
    "wrong type": ("steps", "many", "type"),
    "below its range": ("tf_timeout", -1.0, "out of range"),
    "integer below its range": ("max_views", 0, "out of range"),
    "NaN": ("tf_timeout", NAN, "out of range"),
    "infinite": ("cloud_min_confidence", INF, "out of range"),
    "not one of its choices": ("request_axes", "sideways", "expected one of body, optical"),
    "not one of its numbers": ("depth_coverage", 0.7, "expected 0 or one of 0.5, 0.8, 0.9, 0.95"),
    "set at start only": ("map_frame", "odom", "read-only"),
    "unknown": ("no_such_parameter", 1, ""),
    "list too short": ("follow_offsets", [1.0, 2.0], "expected finite ones, 4 for each view"),
    "list with NaN": ("follow_path_distances", [NAN], "expected finite ones"),
    "empty list": ("follow_path_distances", [], ""),
    "text of a megabyte": ("request_axes", "x" * 2**20, "expected one of body, optical"),
    "number beyond its range": ("follow_seed", 2**62, "out of range"),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter(patient, name):
    parameter, value, reason = PARAMETERS[name]
    before = patient.gld_node.parameters
    found = patient.set_parameter(parameter, value)
    assert found and reason in found
    assert patient.gld_node.parameters == before
    patient.good()


@pytest.fixture
def full_disk():
    """No file of this process may grow beyond 200 bytes."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, old[1]))

    yield fill
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, handler)


def test_disk_full_for_failed_requests(patient, full_disk, capfd):
    """Named as ever, and nothing half-written stays."""
    patient.good()
    patient.model.result = lambda views: []
    before = sorted(patient.failures.iterdir())
    with capfd.disabled():  # the captured output is a file, too
        full_disk()
        answer = patient.ask()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert answer.error_code == Response.MODEL_ERROR and "kept in" not in answer.error_message
    assert sorted(patient.failures.iterdir()) == before
    patient.good()


def test_folder_of_failed_requests_is_a_file(patient, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(patient.gld_node.fallbacks, "_folder", tmp_path / "file" / "failures")
    patient.model.result = lambda views: []
    assert patient.ask().error_code == Response.MODEL_ERROR
    patient.good()


@pytest.fixture
def maps(patient):
    """Functions that save and load the map, which is on."""
    assert patient.set_parameter("map_enabled", True) == ""
    save = patient.node.create_client(SaveMap, "gld_node/save_map")
    load = patient.node.create_client(LoadMap, "gld_node/load_map")
    yield partial(patient.call, save), partial(patient.call, load)
    assert patient.set_parameter("map_enabled", False) == ""


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "", "a\0b", "x" * 5000, ".", "a/.."])
def test_map_paths(patient, maps, path):
    save, load = maps
    if "\0" not in path:  # rclpy refuses to send it
        answer = save(path=path)
        refused = SaveMap.Response.INVALID_REQUEST, SaveMap.Response.FILE_ERROR
        assert answer.error_code in refused and answer.error_message and not answer.files
        answer = load(path=path)
        assert answer.error_code in refused and answer.error_message
    patient.good()


DAMAGES = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[:-50],
    "begun": lambda whole: b"PK\x03\x04 and no more",
    "other": lambda whole: b"\x93NUMPY" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_map(patient, maps, damage):
    save, load = maps
    patient.wait(lambda: not save(path="whole").error_code, "a map to save")
    folder = patient.failures / "maps"
    (folder / "damaged.npz").write_bytes(DAMAGES[damage]((folder / "whole.npz").read_bytes()))
    answer = load(path="damaged")
    assert answer.error_code == LoadMap.Response.FILE_ERROR and "damaged" in answer.error_message
    assert "truncated" in answer.error_message or damage != "cut"
    assert load(path="whole").error_code == LoadMap.Response.NONE
    patient.good()


def test_disk_full_for_maps(patient, maps, full_disk, capfd):
    patient.good()
    with capfd.disabled():
        full_disk()
        answer = maps[0](path="full")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert answer.error_code == SaveMap.Response.FILE_ERROR and answer.error_message
    assert not list((patient.failures / "maps").glob(".full*"))
    patient.good()
