# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags with faults: made-up sequences as `write_bag` writes them, but for some messages; files beside them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.stores import ros2_jazzy as ros

from builders.datasets import HEIGHT, WIDTH, K, rendered
from gld_ros.data.bag_writer import BagWriter, write_bag
from gld_ros.data.formats.transforms_json import read_folder
from gld_ros.geometry.cameras import HALF_PIXEL
from gld_ros.geometry.se3 import invert, quaternion_from_matrix


def copy_bag(folder, target, keep, add=lambda writer: None) -> None:
    """A bag of the sequence `folder` with the messages that `keep` (topic, stamp) accepts, and those of `add`."""
    write_bag(read_folder(folder), target.with_name("full"))
    with AnyReader([target.with_name("full")]) as reader, BagWriter(target) as writer:
        for connection, stamp, data in reader.messages():
            if keep(connection.topic, stamp):
                writer.write_serialized(connection.topic, connection.msgtype, stamp, bytes(data))
        add(writer)


def rewrite(folder, target, change) -> None:
    """A bag of the sequence `folder` whose messages `change` (topic, index of the frame, message) has changed."""
    write_bag(read_folder(folder), target.with_name("whole"))
    types, counts = get_typestore(Stores.ROS2_JAZZY), Counter()
    with AnyReader([target.with_name("whole")]) as reader, BagWriter(target) as writer:
        for connection, stamp, data in reader.messages():
            message = types.deserialize_cdr(data, connection.msgtype)
            topic = change(connection.topic, counts[connection.topic], message) or connection.topic
            counts[connection.topic] += 1
            writer.write(topic, message, stamp)


def ros_header(stamp: int, frame_id: str):
    """A header of rosbags; stamp in ns."""
    return ros.std_msgs__msg__Header(ros.builtin_interfaces__msg__Time(stamp // 10**9, stamp % 10**9), frame_id)


def calibration(tmp_path: Path, **changes) -> Path:
    """A file of ROS's camera calibration for the camera of `rendered`; None leaves a key out."""
    numbers = ", ".join(map(str, (K - HALF_PIXEL).ravel()))
    content = {
        "image_width": WIDTH,
        "image_height": HEIGHT,
        "camera_name": "narrow",
        "camera_matrix": f"{{rows: 3, cols: 3, data: [{numbers}]}}",
        "distortion_model": "plumb_bob",
        "distortion_coefficients": "{rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}",
        "rectification_matrix": "{rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}",
    } | changes
    file = tmp_path / "camera.yaml"
    file.write_text("".join(f"{key}: {value}\n" for key, value in content.items() if value is not None))
    return file


def trajectory(tmp_path: Path, frame: np.ndarray | None = None, seconds: float = 0.0) -> Path:
    """TUM lines of the camera, or of a frame that it sits on at a pose."""
    lines = ["# timestamp tx ty tz qx qy qz qw"]
    for view in rendered():
        pose = view.camera.c2w @ (np.eye(4) if frame is None else invert(frame))
        values = (*pose[:3, 3], *quaternion_from_matrix(pose[:3, :3]))
        lines.append(f"{view.stamp / 1e9 + seconds:.9f} " + " ".join(f"{value:.9f}" for value in values))
    file = tmp_path / ("trajectory.txt" if frame is None else "body.txt")
    file.write_text("\n".join(lines) + "\n")
    return file
