# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""rosbag2 without ROS: round trips in both storages, and bags that lack something."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.stores import ros2_jazzy as ros

from gld_ros.data.bag_writer import BagWriter, write_bag
from gld_ros.data.checks import check_scenes
from gld_ros.data.formats.sequences import Bags
from gld_ros.data.formats.transforms_json import read_folder
from gld_ros.data.sequence import open_sequence, write_folder
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.se3 import quaternion_from_matrix


def copy_bag(folder, target, keep, add=lambda writer: None) -> None:
    """A bag of the sequence `folder` with the messages that `keep` (topic, stamp) accepts, and those of `add`."""
    write_bag(read_folder(folder), target.with_name("full"))
    with AnyReader([target.with_name("full")]) as reader, BagWriter(target) as writer:
        for connection, stamp, data in reader.messages():
            if keep(connection.topic, stamp):
                writer.write_serialized(connection.topic, connection.msgtype, stamp, bytes(data))
        add(writer)


@pytest.mark.parametrize("storage", ("mcap", "sqlite3"))
def test_round_trip(folder, views, tmp_path, storage):
    write_bag(read_folder(folder), tmp_path / "bag", storage)
    sequence = open_sequence(tmp_path / "bag")
    assert sequence.metric is True and sequence.camera_names == ["camera"]
    for frame, view in zip(sequence.frames, views, strict=True):
        read = frame.view()
        np.testing.assert_array_equal(read.image, view.image)
        np.testing.assert_allclose(read.depth, view.depth, atol=1e-6)
        np.testing.assert_allclose(read.camera.c2w, view.camera.c2w, atol=1e-9)
        np.testing.assert_allclose(read.camera.K, view.camera.K)
        assert read.stamp == view.stamp


def test_single_file(folder, tmp_path):
    """Without metadata.yaml: the storage file alone."""
    write_bag(read_folder(folder), tmp_path / "bag", "mcap")
    assert len(open_sequence(next((tmp_path / "bag").glob("*.mcap"))).frames) == 4


def test_compressed_images_are_close(tmp_path, views):
    for view in views:
        view.image[:] = np.linspace(0, 200, view.image.shape[1], dtype=np.uint8)[None, :, None]
    folder = write_folder(tmp_path / "smooth", views)
    write_bag(read_folder(folder), tmp_path / "bag", "mcap", compressed=True)
    image = open_sequence(tmp_path / "bag").frames[2].view().image
    assert np.abs(image.astype(int) - views[2].image).mean() < 2


@pytest.mark.parametrize("metric", (False, None))
def test_the_bag_remembers_what_is_known_of_the_scale(folder, tmp_path, metric):
    write_bag(replace(read_folder(folder), metric=metric), tmp_path / "bag")
    assert open_sequence(tmp_path / "bag").metric is metric


@pytest.mark.parametrize("rigid", (True, False))
def test_two_cameras(tmp_path, views, rigid):
    """Rigid cameras hang on base_link by a static transform; others move on their own. Poses stay exact."""
    offset = np.eye(4)
    offset[0, 3] = 0.5
    right = []
    for index, view in enumerate(views):
        offset[1, 3] = 0 if rigid else 0.1 * index
        camera = view.camera.moved(view.camera.c2w @ offset)
        right.append(type(view)(view.image, camera, view.stamp, view.depth))
    folder = write_folder(tmp_path / "stereo", views + right, ["left"] * 4 + ["right"] * 4)
    write_bag(read_folder(folder), tmp_path / "bag")
    frames = open_sequence(tmp_path / "bag").frames
    for name, expected in (("left", views), ("right", right)):
        poses = [frame.camera.c2w for frame in frames if frame.camera_name == name]
        np.testing.assert_allclose(poses, [view.camera.c2w for view in expected], atol=1e-9)


def test_poses_between_tf_stamps_are_interpolated(folder, views, tmp_path):
    """TF only at the first and last image: the others get poses on the line between them."""
    ends = (views[0].stamp, views[-1].stamp)
    copy_bag(folder, tmp_path / "sparse", lambda topic, stamp: topic != "/tf" or stamp in ends)
    frames = open_sequence(tmp_path / "sparse").frames
    centers = np.array([frame.camera.center for frame in frames])
    np.testing.assert_allclose(np.diff(centers, axis=0), np.diff([v.camera.center for v in views], axis=0), atol=1e-9)


@pytest.mark.parametrize("kind", ("Odometry", "PoseStamped", "Odometry of the base"))
def test_poses_from_a_topic(folder, views, tmp_path, kind):
    """Without TF, Odometry of the camera's frame or PoseStamped gives the poses; without moving TF, the base's does."""
    mounted = kind == "Odometry of the base"  # the camera sits 0.5 m beside it
    vector, turn = ros.geometry_msgs__msg__Vector3, ros.geometry_msgs__msg__Quaternion

    def header(stamp, frame_id):
        return ros.std_msgs__msg__Header(ros.builtin_interfaces__msg__Time(stamp // 10**9, stamp % 10**9), frame_id)

    def add(writer):
        if mounted:
            mount = ros.geometry_msgs__msg__Transform(vector(0.5, 0.0, 0.0), turn(0.0, 0.0, 0.0, 1.0))
            item = ros.geometry_msgs__msg__TransformStamped(header(0, "base_link"), "camera_optical_frame", mount)
            writer.write("/tf_static", ros.tf2_msgs__msg__TFMessage([item]), views[0].stamp)
        for view in views:
            pose = ros.geometry_msgs__msg__Pose(
                ros.geometry_msgs__msg__Point(*view.camera.center.tolist()),
                turn(*quaternion_from_matrix(view.camera.c2w[:3, :3]).tolist()),
            )
            if kind == "PoseStamped":
                message = ros.geometry_msgs__msg__PoseStamped(header(view.stamp, "map"), pose)
            else:
                twist = ros.geometry_msgs__msg__Twist(vector(0.0, 0.0, 0.0), vector(0.0, 0.0, 0.0))
                message = ros.nav_msgs__msg__Odometry(
                    header(view.stamp, "map"),
                    "base_link" if mounted else "camera_optical_frame",
                    ros.geometry_msgs__msg__PoseWithCovariance(pose, np.zeros(36)),
                    ros.geometry_msgs__msg__TwistWithCovariance(twist, np.zeros(36)),
                )
            writer.write("/pose", message, view.stamp)

    copy_bag(folder, tmp_path / "posed", lambda topic, stamp: not topic.startswith("/tf"), add)
    frames = open_sequence(tmp_path / "posed").frames
    offset = np.eye(4)
    offset[0, 3] = 0.5 * mounted
    expected = [view.camera.c2w @ offset for view in views]
    np.testing.assert_allclose([frame.camera.c2w for frame in frames], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("keep", "message"),
    (
        (lambda topic: not topic.endswith("camera_info"), "no CameraInfo on /camera/camera_info"),
        (lambda topic: not topic.startswith("/tf"), "no TF, Odometry or PoseStamped leads to its frame"),
        (lambda topic: topic != "/camera/image_raw", "no colour or grey images"),
        (lambda topic: False, "no colour or grey images in this rosbag2; its topics: none"),
    ),
)
def test_missing_topics_are_named(folder, tmp_path, keep, message):
    copy_bag(folder, tmp_path / "part", lambda topic, stamp: keep(topic))
    with pytest.raises(InvalidRequest, match=message) as error:
        open_sequence(tmp_path / "part")
    assert str(tmp_path / "part") in str(error.value)


def test_existing_bag_and_unknown_storage(folder, tmp_path):
    (tmp_path / "bag").mkdir()
    with pytest.raises(InvalidRequest, match="exists already"):
        write_bag(read_folder(folder), tmp_path / "bag")
    with pytest.raises(InvalidRequest, match="'tar' is unknown"):
        write_bag(read_folder(folder), tmp_path / "other", "tar")


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


def test_each_image_takes_the_camera_info_of_its_stamp(folder, views, tmp_path):
    def zoom(topic, index, message):
        if topic.endswith("camera_info") and index >= 2:
            message.k = message.k * np.array([1.5, 1, 1, 1, 1.5, 1, 1, 1, 1])

    rewrite(folder, tmp_path / "zoomed", zoom)
    fx = [frame.camera.K[0, 0] for frame in open_sequence(tmp_path / "zoomed").frames]
    np.testing.assert_allclose(fx, views[0].camera.K[0, 0] * np.array([1, 1, 1.5, 1.5]))


def test_a_camera_info_sent_once_holds(folder, views, tmp_path):
    copy_bag(folder, tmp_path / "once", lambda topic, at: not topic.endswith("camera_info") or at == views[0].stamp)
    frames = open_sequence(tmp_path / "once").frames
    np.testing.assert_allclose([frame.camera.K for frame in frames], [view.camera.K for view in views])


@pytest.mark.parametrize("roi", (False, True))
def test_binning_and_region_of_interest(folder, views, tmp_path, roi):
    """CameraInfo of the whole sensor, twice as large; images are binned, and cut out if `roi`."""

    def whole(topic, index, message):
        if topic.endswith("camera_info"):
            message.k = message.k * np.array([2, 1, 2, 1, 2, 2, 1, 1, 1.0])
            message.k[[2, 5]] += 0.5  # of pixels whose centres count as whole numbers
            message.binning_x = message.binning_y = 2
            message.width, message.height = 2 * message.width, 2 * message.height
            if roi:
                message.k[[2, 5]] += (10, 6)
                message.roi.x_offset, message.roi.y_offset = 10, 6
                message.roi.width, message.roi.height = message.width, message.height
                message.width, message.height = message.width + 30, message.height + 20

    rewrite(folder, tmp_path / "binned", whole)
    for frame, view in zip(open_sequence(tmp_path / "binned").frames, views, strict=True):
        np.testing.assert_array_equal(frame.view().image, view.image)
        np.testing.assert_allclose(frame.camera.K, view.camera.K)


def test_a_frame_with_two_parents_is_named(folder, views, tmp_path):
    def add(writer):
        for view in views:
            stamp = ros.builtin_interfaces__msg__Time(view.stamp // 10**9, view.stamp % 10**9)
            transform = ros.geometry_msgs__msg__TransformStamped(
                ros.std_msgs__msg__Header(stamp, "odom_vo"),
                "base_link",
                ros.geometry_msgs__msg__Transform(
                    ros.geometry_msgs__msg__Vector3(0.0, 0.0, 0.0),
                    ros.geometry_msgs__msg__Quaternion(0.0, 0.0, 0.0, 1.0),
                ),
            )
            writer.write("/tf", ros.tf2_msgs__msg__TFMessage([transform]), view.stamp)

    copy_bag(folder, tmp_path / "torn", lambda topic, stamp: True, add)
    with pytest.raises(InvalidRequest, match="2 parents of the frame 'base_link': 'map', 'odom_vo'"):
        open_sequence(tmp_path / "torn")
    found, refused = check_scenes(Bags(tmp_path / "torn"))
    assert not found.scenes and "'odom_vo'" in refused.scenes["torn"]


def test_tf_of_a_namespace_is_a_tree_of_its_own(folder, views, tmp_path):
    """Two robots with the same frame names; the second one is 5 m ahead."""
    write_bag(read_folder(folder), tmp_path / "one")
    types = get_typestore(Stores.ROS2_JAZZY)
    with AnyReader([tmp_path / "one"]) as reader, BagWriter(tmp_path / "two") as writer:
        for connection, stamp, data in reader.messages():
            for robot, ahead in (("/robot1", 0.0), ("/robot2", 5.0)):
                message = types.deserialize_cdr(data, connection.msgtype)
                if connection.topic == "/tf":
                    message.transforms[0].transform.translation.x += ahead
                writer.write(robot + connection.topic, message, stamp)
    frames = open_sequence(tmp_path / "two").frames
    for robot, ahead in (("robot1_camera", 0.0), ("robot2_camera", 5.0)):
        centers = [frame.camera.center - (ahead, 0, 0) for frame in frames if frame.camera_name == robot]
        np.testing.assert_allclose(centers, [view.camera.center for view in views], atol=1e-9)


def test_compressed_images_are_known_by_their_type(folder, tmp_path):
    write_bag(read_folder(folder), tmp_path / "jpeg", compressed=True)
    with AnyReader([tmp_path / "jpeg"]) as reader, BagWriter(tmp_path / "named") as writer:
        for connection, stamp, data in reader.messages():
            topic = connection.topic.replace("image_raw/compressed", "image_jpeg")
            writer.write_serialized(topic, connection.msgtype, stamp, bytes(data))
    assert len([frame.view() for frame in open_sequence(tmp_path / "named").frames]) == 4


def test_raw_and_compressed_images_of_one_camera_are_read_once(folder, views, tmp_path):
    def add(writer):
        for view in views:
            stamp = ros.builtin_interfaces__msg__Time(view.stamp // 10**9, view.stamp % 10**9)
            header = ros.std_msgs__msg__Header(stamp, "camera_optical_frame")
            message = ros.sensor_msgs__msg__CompressedImage(header, "jpeg", np.zeros(3, np.uint8))
            writer.write("/camera/image_jpeg", message, view.stamp)

    copy_bag(folder, tmp_path / "both", lambda topic, stamp: True, add)
    assert len(open_sequence(tmp_path / "both").frames) == 4


def test_raw_counts_are_shown_in_one_range(folder, views, tmp_path, caplog):
    """A thermal camera: 16-bit values of 700 counts."""

    def counts(topic, index, message):
        if topic == "/camera/image_raw":
            grey = 7400 + 2 * views[index].image[..., 0].astype(np.uint16) + (index == 3) * 200
            message.encoding, message.step, message.data = "mono16", 2 * message.width, grey.ravel().view(np.uint8)

    rewrite(folder, tmp_path / "thermal", counts)
    images = [frame.view().image for frame in open_sequence(tmp_path / "thermal").frames]
    assert re.search(r"use 3 of 256 grey levels; in all images 7\d+ becomes black and 81\d+ white", caplog.text)
    for index, (image, view) in enumerate(zip(images, views, strict=True)):
        expected = (2.0 * view.image[..., 0] + (index == 3) * 200) * 255 / 710
        np.testing.assert_allclose(image[..., 0], expected, atol=4)


def test_real_recording_without_camera_info_and_tf(real_data):
    bag = real_data("t265_rosbag2/rosbag2_t265")
    with pytest.raises(InvalidRequest, match="fisheye1/image_raw: no CameraInfo on .*no TF"):
        open_sequence(bag)
