# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_node as a process: signals, bad start values; and bad models."""

import signal

import pytest
from lifecycle_msgs.msg import Transition
from rclpy.exceptions import InvalidParameterException, ParameterException
from robot import NodeProcess, NodeThread, logged, node_arguments

from gld_ros.ros.node.node import GLDNode
from gld_ros.srv import SynthesizeViews


def truncated(folder):
    """A model folder whose weights are cut off."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    return folder


@pytest.mark.parametrize("make", [lambda folder: folder, truncated], ids=["missing", "corrupted"])
def test_bad_model_is_a_clean_failure(robot, tmp_path, make):
    model = make(tmp_path / "model")
    with NodeThread(autostart=False, model=model) as node:
        assert not robot.transition(Transition.TRANSITION_CONFIGURE)
        assert logged(node, rf"cannot load the model '{model}'.*\w")() and "Traceback" not in node.log
        answer = robot.ask(1)
        assert answer.error_code == SynthesizeViews.Response.NOT_ACTIVE
        assert not robot.transition(Transition.TRANSITION_CONFIGURE)  # still unconfigured, still alive


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_in_the_middle_of_a_request(robot, tmp_path, number):
    process = NodeProcess(tmp_path / "log", autostart=True, steps=1000)
    robot.fill_context(0, 2, 4)
    robot.service.call_async(SynthesizeViews.Request(poses=robot.poses(1)))
    robot.wait(lambda: robot.diagnostics()["node"]["working"] == "True", "the request at work")
    assert process.stop(number) == 0, process.log
    assert "Traceback" not in process.log


@pytest.mark.parametrize(
    "parameters, reason",
    [
        ({"queue_depth": 0}, "queue_depth"),
        ({"image_topics": "[a,b]"}, "one CameraInfo topic for every image topic"),
        ({"bond_heartbeat_period": 0.001}, "bond_heartbeat_period is 0.001, expected 0 or at least 0.01"),
    ],
)
def test_bad_start_values_are_refused_with_the_reason(parameters, reason):
    with pytest.raises((ValueError, ParameterException, InvalidParameterException), match=reason):
        GLDNode(cli_args=node_arguments(parameters))


def test_a_node_that_cannot_start_says_why(tmp_path):
    process = NodeProcess(tmp_path / "log", pose_source="magic")
    assert process.process.wait(timeout=60) == 1
    assert "pose_source is 'magic', expected one of tf, pose, odometry" in process.log
    assert "Traceback" not in process.log


def test_without_the_keys_it_is_told_to_use_it_does_not_start(tmp_path, monkeypatch):
    """Security fails closed."""
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    monkeypatch.setenv("ROS_SECURITY_STRATEGY", "Enforce")
    monkeypatch.setenv("ROS_SECURITY_KEYSTORE", str(tmp_path / "no keys"))
    process = NodeProcess(tmp_path / "log", autostart=True)
    assert process.process.wait(timeout=60) == 1
    assert "gld_node cannot start: " in process.log and "SECURITY ERROR" in process.log
    assert "Traceback" not in process.log
