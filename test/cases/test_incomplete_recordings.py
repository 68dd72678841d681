# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings that are incomplete, unfinished or of ROS 1."""

from __future__ import annotations

import shutil
import sqlite3

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from gld_ros.data.bag_writer import write_bag
from gld_ros.data.formats.bags import Bags
from gld_ros.data.formats.transforms_json import read_folder
from gld_ros.data.sequence import open_sequence
from gld_ros.errors import InvalidRequest

SUFFIX = {"mcap": ".mcap", "sqlite3": ".db3"}


def files(bag) -> list:
    return sorted(file for file in bag.iterdir() if file.suffix in SUFFIX.values())


def same(path, views) -> None:
    """The bag holds what `write_bag` wrote of them."""
    for frame, view in zip(open_sequence(path).frames, views, strict=True):
        read = frame.view()
        np.testing.assert_array_equal(read.image, view.image)
        np.testing.assert_allclose(read.camera.c2w, view.camera.c2w, atol=1e-9)


@pytest.mark.parametrize("storage", SUFFIX)
@pytest.mark.parametrize("metadata", (None, "", "rosbag2_bagfile_information: ["))
def test_without_metadata(folder, views, tmp_path, storage, metadata, caplog):
    bag = tmp_path / "bag"
    write_bag(read_folder(folder), bag, storage)
    (bag / "metadata.yaml").unlink()
    if metadata is not None:
        (bag / "metadata.yaml").write_text(metadata)
    same(bag, views)
    assert ("empty or broken" in caplog.text) == (metadata is not None)
    assert [len(scene) for scene in (Bags(tmp_path).frames(0), Bags(bag).frames(0))] == [4, 4]


@pytest.mark.parametrize("storage", SUFFIX)
def test_several_files_of_one_recording_without_metadata(folder, views, tmp_path, storage):
    bag = tmp_path / "bag"
    write_bag(read_folder(folder), tmp_path / "whole", storage)
    bag.mkdir()
    for part in range(2):
        with (
            AnyReader([tmp_path / "whole"]) as reader,
            Writer(tmp_path / f"part_{part}", version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer,
        ):
            connections = {}
            for connection, stamp, data in reader.messages():
                if (stamp > views[1].stamp) == bool(part):
                    if connection.topic not in connections:
                        connections[connection.topic] = writer.add_connection(
                            connection.topic, connection.msgtype, typestore=get_typestore(Stores.ROS2_JAZZY)
                        )
                    writer.write(connections[connection.topic], stamp, data)
        shutil.copy(files(tmp_path / f"part_{part}")[0], bag / f"bag_{part}{SUFFIX[storage]}")
    same(bag, views)


@pytest.mark.parametrize("compression", (None, "zstd"))
def test_an_unfinished_mcap_is_read_as_far_as_it_is_whole(folder, views, tmp_path, compression, caplog):
    bag = tmp_path / "bag"
    write_bag(read_folder(folder), tmp_path / "whole")
    writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
    if compression:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with AnyReader([tmp_path / "whole"]) as reader, writer:
        connections = {
            c.topic: writer.add_connection(c.topic, c.msgtype, typestore=get_typestore(Stores.ROS2_JAZZY))
            for c in reader.connections
        }
        for connection, stamp, data in reader.messages():
            writer.write(connections[connection.topic], stamp, data)
    (file,) = files(bag)
    whole = file.read_bytes()
    with AnyReader([bag]) as reader:
        images = len([1 for connection, _, _ in reader.messages() if connection.topic.endswith("image_raw")])
    assert images == 8  # colour and depth
    file.write_bytes(whole[:-8])
    same(bag, views)
    assert "the recording was not finished" in caplog.text and "mcap recover" in caplog.text
    if not compression:  # a block of zstd is read whole or not at all
        cut = whole.index(views[2].image.tobytes()[:64]) + 100
        file.write_bytes(whole[:cut] + bytes(500))  # blocks that were never written
        same(bag, views[:2])


@pytest.mark.parametrize(
    ("storage", "share", "message"),
    (
        ("mcap", 0.0, "empty"),
        ("sqlite3", 0.0, "not a readable rosbag2.*truncated.*ros2 bag reindex"),
        ("sqlite3", 0.5, "not a readable rosbag2.*truncated.*ros2 bag reindex"),
    ),
)
def test_truncated_file(folder, tmp_path, storage, share, message):
    write_bag(read_folder(folder), tmp_path / "bag", storage)
    (file,) = files(tmp_path / "bag")
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(InvalidRequest, match=message) as error:
        open_sequence(tmp_path / "bag")
    assert str(tmp_path / "bag") in str(error.value)


def test_a_missing_file_of_the_metadata_is_named(folder, views, tmp_path, caplog):
    bag = tmp_path / "bag"
    write_bag(read_folder(folder), bag)
    (file,) = files(bag)
    text = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(text.replace(f"- {file.name}", f"- {file.name}\n  - bag_1.mcap", 1))
    same(bag, views)
    assert "bag_1.mcap, which is not there" in caplog.text
    file.unlink()
    with pytest.raises(InvalidRequest, match=f"names {file.name}, which is not in the folder"):
        open_sequence(bag)


@pytest.mark.parametrize("lost", ("tf2_msgs/msg/TFMessage", "sensor_msgs/msg/Image", "%"))
def test_missing_type_definitions(folder, views, tmp_path, lost):
    write_bag(read_folder(folder), tmp_path / "bag", "sqlite3")
    with sqlite3.connect(files(tmp_path / "bag")[0]) as database:
        database.execute("DELETE FROM message_definitions WHERE topic_type LIKE ?", [lost])
    same(tmp_path / "bag", views)


def as_ros1(ros1, message):
    """A message of ROS 2 as one of ROS 1: headers have a number, and matrices of CameraInfo capital names."""
    if isinstance(message, list):
        return [as_ros1(ros1, item) for item in message]
    if not hasattr(message, "__msgtype__"):
        return message
    kind = ros1.types[message.__msgtype__]
    names = [name for name in kind.__dataclass_fields__ if not name.startswith("__")]
    lower = [name if hasattr(message, name) else name.lower() for name in names]
    return kind(*(0 if name == "seq" else as_ros1(ros1, getattr(message, name)) for name in lower))


def ros1_bag(folder, path, tmp_path) -> None:
    """The sequence `folder` as a ROS 1 bag."""
    write_bag(read_folder(folder), tmp_path / "ros2")
    types, ros1 = get_typestore(Stores.ROS2_JAZZY), get_typestore(Stores.ROS1_NOETIC)
    ros1.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
    with AnyReader([tmp_path / "ros2"]) as reader, Ros1Writer(path) as writer:
        connections = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=ros1) for c in reader.connections}
        for connection, stamp, data in reader.messages():
            message = as_ros1(ros1, types.deserialize_cdr(data, connection.msgtype))
            raw = ros1.serialize_ros1(message, connection.msgtype)
            writer.write(connections[connection.topic], stamp, raw)


def test_ros1_bags_are_read(folder, views, tmp_path):
    (tmp_path / "download").mkdir()
    ros1_bag(folder, tmp_path / "download" / "drive.bag", tmp_path)
    same(tmp_path / "download" / "drive.bag", views)
    same(tmp_path / "download", views)
    assert len(Bags(tmp_path / "download").frames(0)) == 4
    shutil.copy(tmp_path / "download" / "drive.bag", tmp_path / "download" / "second.bag")
    assert Bags(tmp_path / "download").names == ["drive.bag", "second.bag"]
    with pytest.raises(InvalidRequest, match="2 scenes, such as drive.bag; one sequence is expected"):
        open_sequence(tmp_path / "download")


def test_ros1_bags_that_cannot_be_read_are_named(folder, tmp_path):
    ros1_bag(folder, tmp_path / "cut.bag", tmp_path)
    (tmp_path / "cut.bag").write_bytes((tmp_path / "cut.bag").read_bytes()[:-300])
    with pytest.raises(InvalidRequest, match="cut.bag: not a readable ROS 1 bag .*rosbag reindex.*rosbags-convert"):
        open_sequence(tmp_path / "cut.bag")
    types = get_typestore(Stores.ROS1_NOETIC)
    with Ros1Writer(tmp_path / "talk.bag") as writer:
        connection = writer.add_connection("/chatter", "std_msgs/msg/String", typestore=types)
        text = types.types["std_msgs/msg/String"]("hello")
        writer.write(connection, 1, types.serialize_ros1(text, "std_msgs/msg/String"))
    with pytest.raises(InvalidRequest, match=r"no colour or grey images in this ROS 1 bag; .*/chatter \(std_msgs"):
        open_sequence(tmp_path / "talk.bag")
