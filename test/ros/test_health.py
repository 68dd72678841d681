# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What gld_node says of itself: /diagnostics, ~/status, and where the time of requests goes."""

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from robot import NodeThread, Robot

from gld_ros.ros.node.counters import Latencies
from gld_ros.ros.node.topics import LATCHED
from gld_ros.srv import SynthesizeViews

STAGES = ("queue", "pose", "sources", "encode", "level1", "decode", "view", "review", "messages")


def test_latencies_of_the_last_requests_and_a_histogram_of_all():
    latencies = Latencies()
    assert latencies.values() == {"latency_median_s": "", "latency_max_s": "", "latency_histogram": ""}
    latencies.add(20.0, {"queue": 19.0, "level1": 1.0})
    for _ in range(Latencies.KEPT):
        latencies.add(0.1, {"level1": 0.06})
    assert latencies.values() == {
        "latency_median_s": "0.100",
        "latency_max_s": "0.100",
        "latency_queue_s": "19.000 / 19.000",
        "latency_level1_s": "0.060 / 0.060",
        "latency_histogram": "<=0.1 s: 100, >10 s: 1",
    }


@pytest.fixture(scope="module")
def robot():
    robot = Robot("health_robot")
    yield robot
    robot.close()


@pytest.fixture(scope="module")
def node(robot):
    with NodeThread() as process:
        robot.fill_context(0, 2, 4)
        yield process


def listen(robot):
    """Messages of ~/status from now on."""
    heard = []
    robot.node.create_subscription(DiagnosticStatus, "gld_node/status", heard.append, LATCHED)
    robot.wait(lambda: heard, "a latched status")
    return heard


def test_what_works_where_and_what_took_how_long(robot, node):
    before = robot.diagnostics()["node"]
    assert before["model"] == "mini" and before["device"] == "cpu" and int(before["memory_mb"]) > 100
    assert "latency_decode_s" not in before and before["scale_residual"] == ""
    assert float(before["newest_key_frame_age_s"]) <= float(before["oldest_key_frame_age_s"]) < 600
    assert before["requests_waiting"] == before["images_waiting_for_pose"] == "0"
    answer = robot.ask(1)
    assert answer.error_code == SynthesizeViews.Response.NONE, answer.error_message
    after = robot.diagnostics()["node"]
    stages = {stage: float(after[f"latency_{stage}_s"].split(" / ")[1]) for stage in STAGES}
    assert stages["encode"] > 0 and stages["decode"] > 0
    assert sum(stages.values()) <= answer.latency + 0.001 * len(stages)
    assert sum(stages.values()) > 0.5 * answer.latency
    assert after["latency_histogram"].endswith(": 1")
    assert float(after["scale_residual"]) == pytest.approx(answer.views[0].scale_residual, abs=1e-3)


def test_an_image_without_a_pose_is_seen_to_wait(robot, node):
    robot.send(3, frame="nobody_knows", with_tf=False)
    robot.wait(lambda: robot.diagnostics()["node"]["images_waiting_for_pose"] == "1", "a waiting image")


def test_status_is_latched_and_sent_when_it_changes(robot, node):
    first = listen(robot)
    assert [(s.level, s.message, s.hardware_id) for s in first] == [(b"\0", "active", "/gld_node")]
    assert {v.key: v.value for v in first[0].values}["model"] == "mini"
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    robot.wait(lambda: first[-1].message == "inactive", "the change")
    robot.diagnostics()
    assert [s.message for s in first] == ["active", "inactive"]  # not again with each diagnostic
    late = listen(robot)
    assert [s.message for s in late] == ["inactive"]
