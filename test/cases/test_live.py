# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Live topics of the field cases (`../shared/cases`), each by its own publisher, all at once."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import pytest

pytest.importorskip("rclpy", reason="live topics need ROS")

from builders.cases import case
from dds import nothing_stays, ros
from ros.robot import NodeThread

from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.ros.node import session

__all__ = ["nothing_stays", "ros"]

#: Name: case, name of the image topic, parameters. The topics of each are below /NAME, so that all can run at once.
NODES = {
    "case23": (23, "image_raw", {}),
    "case24": (24, "image_raw", {}),
    "case24_slop": (24, "image_raw", {"pairing_slop": 0.02}),
    "case25": (25, "image_jpeg", {}),
}


@pytest.fixture(scope="module")
def one_model():
    """No request is made: one model is enough for all nodes."""
    pipe = GLDPipeline.from_pretrained("mini")
    patch = pytest.MonkeyPatch()
    patch.setattr(session, "load", lambda parameters: pipe)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def played(one_model):
    """Node: key frames and log after the publishers of all cases have ended."""
    with ExitStack() as stack:
        nodes = {}
        for name, (_, image, parameters) in NODES.items():
            topics = {"image_topics": f"[/{name}/{image}]", "camera_info_topics": f"[/{name}/camera_info]"}
            remapped = {"__node": f"node_of_{name}", "/tf": f"/{name}/tf", "/tf_static": f"/{name}/tf_static"}
            nodes[name] = stack.enter_context(NodeThread(**topics, **remapped, **parameters))
        robot1 = {"image_topics": "[cam/image_raw]", "camera_info_topics": "[cam/camera_info]"}
        robot1 |= {"__ns": "/robot1", "__node": "case27", "/tf": "tf", "/tf_static": "tf_static"}
        nodes["case27"] = stack.enter_context(NodeThread(**robot1))
        publishers = [subprocess.Popen([sys.executable, case(27, "publish.py")])]
        for name, (number, image, _) in NODES.items():
            remapped = {f"/cam/{image}": f"/{name}/{image}", "/cam/camera_info": f"/{name}/camera_info"}
            remapped |= {"/tf": f"/{name}/tf", "__node": f"publisher_of_{name}"}
            arguments = [part for old, new in remapped.items() for part in ("-r", f"{old}:={new}")]
            publishers.append(subprocess.Popen([sys.executable, case(number, "publish.py"), "--ros-args", *arguments]))
        assert [publisher.wait(60) for publisher in publishers] == [0] * len(publishers)
        result = {name: (len(node.node.key_frames), node.log) for name, node in nodes.items()}
    return result


def test_23_camera_info_sent_once(played):
    key_frames, log = played["case23"]
    assert key_frames == 4 and "'/case23/camera_info' is taken as sensor_msgs/msg/CameraInfo, latched" in log
    assert "no input" not in log


def test_24_restamped_pictures(played):
    key_frames, log = played["case24"]
    assert key_frames == 0 and "0.008 s apart" in log and "pairing_slop" in log
    assert played["case24_slop"][0] == 4


def test_25_compressed_topic_with_another_name(played):
    assert played["case25"][0] == 4


def test_27_tf_in_a_namespace(played):
    assert played["case27"][0] == 4
