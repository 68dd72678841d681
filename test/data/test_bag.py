# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""rosbag2 without ROS: round trips in both storages, and bags that lack something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders.bags import copy_bag, ros_header
from rosbags.typesys.stores import ros2_jazzy as ros

from gld_ros.data.bag_writer import write_bag
from gld_ros.data.formats.transforms_json import read_folder
from gld_ros.data.recording import Recording
from gld_ros.data.sequence import open_sequence, write_folder
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.se3 import quaternion_from_matrix


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

    def add(writer):
        if mounted:
            mount = ros.geometry_msgs__msg__Transform(vector(0.5, 0.0, 0.0), turn(0.0, 0.0, 0.0, 1.0))
            item = ros.geometry_msgs__msg__TransformStamped(ros_header(0, "base_link"), "camera_optical_frame", mount)
            writer.write("/tf_static", ros.tf2_msgs__msg__TFMessage([item]), views[0].stamp)
        for view in views:
            pose = ros.geometry_msgs__msg__Pose(
                ros.geometry_msgs__msg__Point(*view.camera.center.tolist()),
                turn(*quaternion_from_matrix(view.camera.c2w[:3, :3]).tolist()),
            )
            if kind == "PoseStamped":
                message = ros.geometry_msgs__msg__PoseStamped(ros_header(view.stamp, "map"), pose)
            else:
                twist = ros.geometry_msgs__msg__Twist(vector(0.0, 0.0, 0.0), vector(0.0, 0.0, 0.0))
                message = ros.nav_msgs__msg__Odometry(
                    ros_header(view.stamp, "map"),
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


def test_real_recording_without_camera_info_and_tf(real_data):
    bag = real_data("t265_rosbag2/rosbag2_t265")
    with pytest.raises(InvalidRequest, match="fisheye1/image_raw: no CameraInfo on .*no TF"):
        open_sequence(bag)


def test_an_error_of_the_reader_of_messages_is_not_the_bags(folder, tmp_path):
    write_bag(read_folder(folder), tmp_path / "bag")
    with pytest.raises(ZeroDivisionError), Recording(tmp_path / "bag").reading() as bag:
        for _ in bag.messages(bag.topics):
            raise ZeroDivisionError
