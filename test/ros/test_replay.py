# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_replay of a bag without CameraInfo or poses, with files beside it; of masks; of bad frames."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from builders.bags import calibration, copy_bag, trajectory
from builders.datasets import K, rendered
from dds import PATIENCE
from robot import node_arguments
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from gld_ros.data.sequence import write_folder
from gld_ros.geometry.cameras import HALF_PIXEL
from gld_ros.geometry.se3 import BODY_FROM_OPTICAL
from gld_ros.ros import conversions

SCRIPT = Path(__file__).parents[2] / "scripts/gld_replay"


def played(robot, count, **parameters):
    """Images, CameraInfo and transforms by stamp that gld_replay publishes, and its log; count: of the images."""
    came = {kind: {} for kind in (Image, CameraInfo, TFMessage)}
    topics = {Image: "/camera/image_raw", CameraInfo: "/camera/camera_info", TFMessage: "/tf"}

    def keep(message):
        header = message.transforms[0].header if isinstance(message, TFMessage) else message.header
        came[type(message)][conversions.stamp_to_ns(header.stamp)] = message

    subscriptions = [robot.node.create_subscription(kind, topic, keep, 50) for kind, topic in topics.items()]
    playing = {"rate": 20.0, "wait_for_subscribers": 1, "stamps": "recorded", "publish_depth": False}
    command = [sys.executable, str(SCRIPT), *node_arguments(parameters | playing)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        robot.wait(lambda: process.poll() is not None or min(map(len, came.values())) >= count, "images", PATIENCE)
    finally:
        process.terminate()
        log = process.communicate(timeout=30)[0]
        for subscription in subscriptions:
            robot.node.destroy_subscription(subscription)
    return *came.values(), log


def test_files_beside_a_bag(robot, tmp_path):
    folder = write_folder(tmp_path / "folder", rendered())
    left_out = ("/camera/camera_info", "/tf", "/tf_static")
    copy_bag(folder, tmp_path / "bag", lambda topic, _: topic not in left_out)
    files = {"calibration": calibration(tmp_path), "trajectory": trajectory(tmp_path)}
    images, infos, transforms, log = played(robot, len(rendered()), sequence=tmp_path / "bag", **files)
    assert sorted(images) == [view.stamp for view in rendered()], log
    for view in rendered():
        pixels = np.frombuffer(images[view.stamp].data, np.uint8).reshape(view.image.shape)
        np.testing.assert_array_equal(pixels, view.image)
        np.testing.assert_allclose(infos[view.stamp].k, (K - HALF_PIXEL).ravel(), atol=1e-9)
        base = conversions.pose_to_matrix(transforms[view.stamp].transforms[0].transform)
        np.testing.assert_allclose(base @ BODY_FROM_OPTICAL, view.camera.c2w, atol=1e-6)


def test_masks_and_bad_frames(robot, tmp_path):
    mask = np.ones(rendered()[0].image.shape[:2], bool)
    mask[20:40, 20:40] = False
    folder = write_folder(tmp_path / "folder", [replace(view, mask=mask) for view in rendered()])
    file = folder / "images/002.png"
    file.write_bytes(file.read_bytes()[:200])
    images, _, _, log = played(robot, 5, sequence=folder, skip_bad_frames=True)
    assert sorted(images) == [view.stamp for k, view in enumerate(rendered()) if k != 2]
    assert "1 of 6 frames are bad and were skipped" in log
    assert log.count("some images have masks; image messages have none") == 1
