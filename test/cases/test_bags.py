# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of real drivers: calibration, encodings, frames, clocks; the samples of field cases 04 to 13, 23 and 25."""

from __future__ import annotations

import re

import numpy as np
import pytest
from builders.bags import copy_bag, rewrite, ros_header
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.stores import ros2_jazzy as ros

from gld_ros.data.bag_writer import BagWriter, write_bag
from gld_ros.data.checks import check_scenes
from gld_ros.data.formats.bags import Bags
from gld_ros.data.formats.transforms_json import read_folder
from gld_ros.data.sequence import open_sequence
from gld_ros.errors import InvalidRequest


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
            transform = ros.geometry_msgs__msg__TransformStamped(
                ros_header(view.stamp, "odom_vo"),
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
            header = ros_header(view.stamp, "camera_optical_frame")
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


@pytest.mark.parametrize(
    ("model", "D", "same"),
    (
        ("equidistant", [0.1, -0.05, 0.01, 0.002, 0.0], 4),
        ("equidistant", [0.1, -0.05, 0.01, 0.002, 0.0, 0.0, 0.0, 0.0], 4),
        ("plumb_bob", [-0.2, 0.05, 0.001, -0.002, 0.01, 0.0, 0.0], 5),
        ("rational_polynomial", [0.1, 0.02, 0.001, -0.002, 0.01, 0.2, 0.05, 0.01, 0.0], 8),
        ("equidistant", [0.1, -0.05, 0.01, 0.002, 0.003], 0),
        ("plumb_bob", [-0.2, 0.05, 0.001, -0.002, 0.01, 0.03], 0),
    ),
)
def test_zeros_behind_the_last_coefficient_change_nothing(folder, tmp_path, model, D, same):
    """same: how many coefficients give the same pictures; 0 where D is refused."""

    def bent(coefficients):
        def change(topic, index, message):
            if topic.endswith("camera_info"):
                message.distortion_model, message.d = model, np.array(coefficients)

        return change

    rewrite(folder, tmp_path / "long", bent(D))
    if not same:
        with pytest.raises(InvalidRequest, match=f"camera_info: CameraInfo: D holds {len(D)} numbers"):
            open_sequence(tmp_path / "long")
        return
    (tmp_path / "b").mkdir()
    rewrite(folder, tmp_path / "b/short", bent(D[:same]))
    for a, b in zip(open_sequence(tmp_path / "long").frames, open_sequence(tmp_path / "b/short").frames, strict=True):
        np.testing.assert_array_equal(a.camera.K, b.camera.K)
        np.testing.assert_array_equal(a.read_image(), b.read_image())


SHARED = "camera_optical_frame"


def stereo_bag(folder, target, baseline, name="image_rect", frame=SHARED, bent=False) -> None:
    """A second camera, `baseline` (metres) to the right of and below the first: by P, and by TF for another `frame`."""
    types = get_typestore(Stores.ROS2_JAZZY)
    write_bag(read_folder(folder), target.with_name("first"))
    with AnyReader([target.with_name("first")]) as reader, BagWriter(target) as writer:
        for connection, stamp, data in reader.messages():
            if connection.topic.startswith("/camera/depth"):
                continue
            for side in ("camera", "right") if connection.topic.startswith("/camera") else ("",):
                message = types.deserialize_cdr(data, connection.msgtype)
                if connection.topic.endswith("camera_info"):
                    message.d = np.array([0.01, 0, 0, 0, 0]) * bent
                if side == "right":
                    message.header.frame_id = frame
                    if connection.topic.endswith("camera_info"):
                        message.p = message.p.copy()
                        message.p[[3, 7]] = -message.p[[0, 5]] * baseline
                elif connection.topic == "/tf_static" and frame != SHARED:
                    mount = ros.geometry_msgs__msg__Transform(
                        ros.geometry_msgs__msg__Vector3(*map(float, baseline), 0.0),
                        ros.geometry_msgs__msg__Quaternion(0.0, 0.0, 0.0, 1.0),
                    )
                    header = ros_header(stamp, SHARED)
                    message.transforms.append(ros.geometry_msgs__msg__TransformStamped(header, frame, mount))
                writer.write(connection.topic.replace("camera", side, 1).replace("image_raw", name), message, stamp)


@pytest.mark.parametrize(
    ("name", "baseline", "frame"),
    (
        ("image_rect", (0.12, 0), SHARED),
        ("picture", (0.12, 0), SHARED),
        ("picture", (0, 0.3), SHARED),
        ("image_rect", (0.12, 0), "right_optical_frame"),
    ),
)
def test_the_second_camera_of_a_stereo_pair_is_where_p_says(folder, tmp_path, name, baseline, frame):
    """Once: many drivers give it a frame of its own, and P says again what TF says."""
    stereo_bag(folder, tmp_path / "stereo", baseline, name, frame)
    frames = open_sequence(tmp_path / "stereo").frames
    first, second = ([frame for frame in frames if frame.camera_name == side] for side in ("camera", "right"))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose((a.camera.w2c @ b.camera.c2w)[:3, 3], (*baseline, 0), atol=1e-9)


def test_raw_images_of_a_stereo_pair_in_one_frame_are_left_out(folder, tmp_path, caplog):
    stereo_bag(folder, tmp_path / "stereo", (0.12, 0), "image_raw", bent=True)
    assert {frame.camera_name for frame in open_sequence(tmp_path / "stereo").frames} == {"camera"}
    assert "/right/image_raw: " in caplog.text and "these are raw: send rectified ones" in caplog.text


@pytest.mark.parametrize("uncalibrated", (2, 4))
def test_zeros_until_calibrated(folder, tmp_path, caplog, uncalibrated):
    def zeros(topic, index, message):
        if topic.endswith("camera_info") and index < uncalibrated:
            message.k, message.p = np.zeros(9), np.zeros(12)

    rewrite(folder, tmp_path / "bag", zeros)
    reason = "images: /camera/camera_info: K is all zeros, as of a camera that is not calibrated"
    if uncalibrated == 4:
        with pytest.raises(InvalidRequest, match=f"4 of 4 {reason}"):
            open_sequence(tmp_path / "bag")
    else:
        assert len(open_sequence(tmp_path / "bag").frames) == 2 and f"left out 2 of 4 {reason}" in caplog.text


@pytest.mark.parametrize(
    ("clock", "reason"),
    (
        (
            lambda stamp: stamp - 5_000_000_000,
            "stamped 0.000 to 0.300 s, the poses 5.000 to 5.300 s: they are of",
        ),
        (lambda stamp: stamp + 37 * 10**9, "stamped 42.000 to 42.300 s, the poses 5.000 to 5.300 s"),
        (lambda stamp: 0, "the stamp is zero: the driver does not stamp its messages"),
    ),
)
def test_images_of_another_clock_than_tf(folder, tmp_path, clock, reason):
    def restamp(topic, index, message):
        if topic.startswith("/camera/"):
            stamp = clock(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)
            message.header = ros_header(stamp, message.header.frame_id)

    rewrite(folder, tmp_path / "bag", restamp)
    found, refused = check_scenes(Bags(tmp_path / "bag"))
    assert not found.scenes and re.search(reason, refused.scenes["bag"]), refused.scenes


def test_one_image_of_the_future_is_left_out(folder, views, tmp_path, caplog):
    def leap(topic, index, message):
        if topic.startswith("/camera/") and index == 1:
            message.header.stamp.sec += 100

    rewrite(folder, tmp_path / "bag", leap)
    frames = open_sequence(tmp_path / "bag").frames
    assert [frame.stamp for frame in frames] == [view.stamp for k, view in enumerate(views) if k != 1]
    assert "left out 1 of 4 images: no pose at their stamps" in caplog.text
