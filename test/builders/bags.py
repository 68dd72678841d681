# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags with faults: made-up sequences as `write_bag` writes them, but for some messages."""

from __future__ import annotations

from collections import Counter

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.stores import ros2_jazzy as ros

from gld_ros.data.bag_writer import BagWriter, write_bag
from gld_ros.data.formats.transforms_json import read_folder


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
