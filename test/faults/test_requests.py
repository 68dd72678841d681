# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults of clients, parameters, disks and whoever changes the lifecycle."""

import math
import resource
import signal
import threading
import time

import pytest
import rclpy
from builtin_interfaces.msg import Duration
from lifecycle_msgs.srv import ChangeState
from patient import PATIENCE, Response
from rclpy.action import ActionClient
from sensor_msgs.msg import CameraInfo
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


#: Poses and fields of a request, and the codes it may be answered with.
REQUESTS = {
    "no pose": (lambda p: [], {}, "INVALID_REQUEST"),
    "a thousand poses": (lambda p: [p.pose()] * 1000, {}, "INVALID_REQUEST"),
    "position NaN": (lambda p: [at(p, x=NAN)], {}, "INVALID_REQUEST"),
    "position infinite": (lambda p: [at(p, y=-INF)], {}, "INVALID_REQUEST"),
    "position beyond all numbers": (lambda p: [at(p, z=1e300)], {}, "INVALID_REQUEST"),
    "quaternion beyond all numbers": (lambda p: [at(p, w=1e200)], {}, "INVALID_REQUEST"),
    "far away": (lambda p: [at(p, x=1e8)], {}, "NO_CONTEXT NONE"),
    "quaternion zero": (lambda p: [at(p, w=0.0)], {}, "INVALID_REQUEST"),
    "quaternion NaN": (lambda p: [at(p, w=NAN)], {}, "INVALID_REQUEST"),
    "unknown frame": (lambda p: [at(p, "nowhere")], {}, "TF_ERROR"),
    "frame of spaces": (lambda p: [at(p, "   ")], {}, "TF_ERROR"),
    "frame of slashes": (lambda p: [at(p, "///")], {}, "TF_ERROR"),
    "stamp of long ago": (lambda p: [at(p, "camera", 1)], {}, "TF_ERROR"),
    "stamp of the future": (lambda p: [at(p, "camera", 2**60)], {}, "TF_ERROR"),
    "unknown axes": (lambda p: [p.pose()], {"axes": 255}, "INVALID_REQUEST"),
    "negative budget": (lambda p: [p.pose()], {"time_budget": Duration(sec=-5)}, "INVALID_REQUEST"),
    "budget of a nanosecond": (lambda p: [p.pose()], {"time_budget": Duration(nanosec=1)}, "TIMEOUT"),
    "K zero": (lambda p: [p.pose()], camera(k=[0.0] * 9), "INVALID_REQUEST"),
    "K NaN": (lambda p: [p.pose()], camera(k=[NAN] * 9), "INVALID_REQUEST"),
    "picture of four billion columns": (lambda p: [p.pose()], camera(width=2**32 - 1), "INVALID_REQUEST"),
    "picture without rows": (lambda p: [p.pose()], camera(height=0), "INVALID_REQUEST"),
    "lens of a kilometre": (lambda p: [p.pose()], camera(k=[1e9, 0, 32, 0, 1e9, 24, 0, 0, 1]), "NONE NO_CONTEXT"),
    "coverage of a model that is not calibrated": (lambda p: [p.pose()], {"depth_coverage": 0.9}, "INVALID_REQUEST"),
    "coverage NaN": (lambda p: [p.pose()], {"depth_coverage": NAN}, "INVALID_REQUEST"),
    "coverage infinite": (lambda p: [p.pose()], {"depth_coverage": INF}, "INVALID_REQUEST"),
    "binning too large": (lambda p: [p.pose()], camera(binning_x=4_000_000_000), "INVALID_REQUEST"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_request(patient, name):
    """As a service and as an action."""
    patient.good()
    poses, fields, codes = REQUESTS[name]
    allowed = {getattr(Response, code) for code in codes.split()}
    answer = patient.result(patient.call(*poses(patient), **fields))
    assert answer.error_code in allowed, (answer.error_code, answer.error_message)
    assert (answer.error_message == "") == (answer.error_code == Response.NONE) == bool(answer.views)
    result = patient.result(patient.goal(*poses(patient), **fields).get_result_async()).result
    assert result.error_code in allowed
    patient.good()


def flood(patient):
    """More than may wait: the rest is refused by name, and none is lost before the node takes it."""
    release = threading.Event()
    patient.model.fault = lambda stage: release.wait(PATIENCE)
    answers = [patient.call(patient.pose(patient.x)) for _ in range(40)]
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
    patient.wait(lambda: patient.node.requests.worker.busy, "work")
    other.destroy_node()


def action_client_vanishes(patient):
    other = rclpy.create_node("vanishing")
    client = ActionClient(other, SynthesizeTrajectory, "gld_node/synthesize_trajectory")
    assert client.wait_for_server(PATIENCE)
    patient.model.fault = lambda stage: time.sleep(0.1)
    client.send_goal_async(SynthesizeTrajectory.Goal(poses=[patient.pose(patient.x)]))
    patient.wait(lambda: patient.node.requests.worker.busy, "work")
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
    clear = patient.robot.create_client(Trigger, "gld_node/clear_context")
    patient.model.fault = lambda stage: time.sleep(0.1)
    waiting = patient.call(patient.pose(patient.x))
    assert patient.result(clear.call_async(Trigger.Request())).success
    # It was done before, it had not begun, or it was at work.
    assert patient.result(waiting).error_code in (Response.NONE, Response.NO_CONTEXT, Response.CANCELLED)


def follow_without_listeners(patient):
    follow = patient.robot.create_client(SetBool, "gld_node/follow")
    for on in (True, True, False, False):
        assert patient.result(follow.call_async(SetBool.Request(data=on))).success


def wrong_transitions(patient):
    """Not allowed here, or not there at all."""
    for number in (1, 2, 3, 0, 99, 255):
        assert not patient.transition(number)
    unnamed = ChangeState.Request()
    unnamed.transition.label = "no such transition"
    assert not patient.result(patient._transition.call_async(unnamed)).success


def restarts_at_work(patient):
    patient.model.fault = lambda stage: time.sleep(0.1)
    waiting = [patient.call(patient.pose(patient.x)) for _ in range(3)]
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
    "wrong type": ("steps", "many"),
    "below its range": ("tf_timeout", -1.0),
    "NaN": ("tf_timeout", NAN),
    "infinite": ("cloud_min_confidence", INF),
    "not one of its choices": ("request_axes", "sideways"),
    "set at start only": ("map_frame", "odom"),
    "unknown": ("no_such_parameter", 1),
    "list too short": ("follow_offsets", [1.0, 2.0]),
    "empty list": ("follow_path_distances", []),
    "text of a megabyte": ("request_axes", "x" * 2**20),
    "number beyond its range": ("follow_seed", 2**62),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter(patient, name):
    parameter, value = PARAMETERS[name]
    before = patient.node.parameters
    assert patient.set(parameter, value)
    assert patient.node.parameters == before
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
    monkeypatch.setattr(patient.node.fallbacks, "_folder", tmp_path / "file" / "failures")
    patient.model.result = lambda views: []
    assert patient.ask().error_code == Response.MODEL_ERROR
    patient.good()


@pytest.fixture
def maps(patient):
    """Clients of the map, which is on."""
    assert patient.set("map_enabled", True) == ""
    save = patient.robot.create_client(SaveMap, "gld_node/save_map")
    load = patient.robot.create_client(LoadMap, "gld_node/load_map")
    assert save.wait_for_service(PATIENCE) and load.wait_for_service(PATIENCE)
    yield save, load
    assert patient.set("map_enabled", False) == ""


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "", "a\0b", "x" * 5000, "."])
def test_map_paths(patient, maps, path):
    save, load = maps
    if "\0" not in path:  # rclpy refuses to send it
        answer = patient.result(save.call_async(SaveMap.Request(path=path)))
        refused = SaveMap.Response.INVALID_REQUEST, SaveMap.Response.FILE_ERROR
        assert answer.error_code in refused and answer.error_message and not answer.files
        answer = patient.result(load.call_async(LoadMap.Request(path=path)))
        assert answer.error_code in refused and answer.error_message
    patient.good()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x93NUMPY" * 100], ids=["empty", "cut", "other"])
def test_damaged_map(patient, maps, content):
    folder = patient.failures / "maps"
    folder.mkdir(exist_ok=True)
    (folder / "damaged.npz").write_bytes(content)
    answer = patient.result(maps[1].call_async(LoadMap.Request(path="damaged")))
    assert answer.error_code == LoadMap.Response.FILE_ERROR and "damaged" in answer.error_message
    patient.good()


def test_disk_full_for_maps(patient, maps, full_disk, capfd):
    patient.good()
    with capfd.disabled():
        full_disk()
        answer = patient.result(maps[0].call_async(SaveMap.Request(path="full")))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert answer.error_code == SaveMap.Response.FILE_ERROR and answer.error_message
    assert not list((patient.failures / "maps").glob(".full*"))
    patient.good()
