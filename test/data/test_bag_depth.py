# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth in bags: registered or with a camera of its own, compressed, of another rate; which topic belongs to which."""

from __future__ import annotations

import struct
from dataclasses import replace

import cv2
import numpy as np
import pytest
from builders.datasets import rendered, room
from rosbags.highlevel import AnyReader
from rosbags.typesys.stores import ros2_jazzy as ros

from gld_ros.data.bag_writer import BagWriter, write_bag
from gld_ros.data.formats.transforms_json import read_folder
from gld_ros.data.sequence import open_sequence, write_folder
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, Camera, intrinsics
from gld_ros.geometry.se3 import interpolate_pose, quaternion_from_matrix

MOUNT = np.eye(4)  # of the depth camera in the colour camera's frame
MOUNT[:3, :3], MOUNT[:3, 3] = cv2.Rodrigues(np.array([0.02, -0.05, 0.01]))[0], (0.05, 0.01, 0.0)
VIEWS = rendered()
W, H = VIEWS[0].camera.width, VIEWS[0].camera.height


def header(stamp, frame_id):
    return ros.std_msgs__msg__Header(ros.builtin_interfaces__msg__Time(stamp // 10**9, stamp % 10**9), frame_id)


def millimetres(depth):
    return np.nan_to_num(np.rint(depth * 1000)).astype(np.uint16)


def depth_image(depth, stamp, frame_id, encoding="16UC1"):
    pixels = millimetres(depth)
    data = pixels.view(np.uint8).ravel()
    return ros.sensor_msgs__msg__Image(header(stamp, frame_id), *pixels.shape, encoding, 0, 2 * pixels.shape[1], data)


def compressed_depth(depth, stamp, frame_id):
    data = struct.pack("<iff", 0, 0, 0) + cv2.imencode(".png", millimetres(depth))[1].tobytes()
    pixels = np.frombuffer(data, np.uint8)
    return ros.sensor_msgs__msg__CompressedImage(header(stamp, frame_id), "16UC1; compressedDepth png", pixels)


def camera_info(camera, stamp, frame_id):
    K = camera.K - HALF_PIXEL
    roi = ros.sensor_msgs__msg__RegionOfInterest(0, 0, 0, 0, False)
    P = np.column_stack([K, np.zeros(3)]).ravel()
    size = camera.height, camera.width
    return ros.sensor_msgs__msg__CameraInfo(
        header(stamp, frame_id), *size, "plumb_bob", np.zeros(5), K.ravel(), np.eye(3).ravel(), P, 0, 0, roi
    )


def depth_camera(index, view):
    return Camera(intrinsics(0.45 * W, 0.45 * W, W / 4, H / 4), view.camera.c2w @ MOUNT, W // 2, H // 2)


@pytest.fixture
def bag(tmp_path):
    """(add, views) -> a bag of VIEWS or `views` without depth, and of what `add(writer)` puts into it."""

    def make(add, views=VIEWS):
        write_bag(
            read_folder(write_folder(tmp_path / "folder", [replace(v, depth=None) for v in views])), tmp_path / "a"
        )
        with AnyReader([tmp_path / "a"]) as reader, BagWriter(tmp_path / "b") as writer:
            for connection, stamp, data in reader.messages():
                writer.write_serialized(connection.topic, connection.msgtype, stamp, bytes(data))
            add(writer)
        return tmp_path / "b"

    return make


@pytest.mark.parametrize("compressed", (False, True))
def test_depth_of_a_camera_of_its_own(bag, compressed):
    """Half the size, another lens, beside the colour camera by a static transform, 5 ms before it."""
    cameras = [depth_camera(k, view) for k, view in enumerate(VIEWS)]
    depths = room().render(cameras)[1]
    topic = "/depth/image_raw" + "/compressedDepth" * compressed

    def add(writer):
        position, turn = MOUNT[:3, 3].tolist(), quaternion_from_matrix(MOUNT[:3, :3]).tolist()
        mount = ros.geometry_msgs__msg__Transform(
            ros.geometry_msgs__msg__Vector3(*position), ros.geometry_msgs__msg__Quaternion(*turn)
        )
        stamped = ros.geometry_msgs__msg__TransformStamped(header(0, "camera_optical_frame"), "depth_frame", mount)
        writer.write("/tf_static", ros.tf2_msgs__msg__TFMessage([stamped]), VIEWS[0].stamp)
        for view, camera, depth in zip(VIEWS, cameras, depths, strict=True):
            make = compressed_depth if compressed else depth_image
            writer.write(topic, make(depth, view.stamp, "depth_frame"), view.stamp)
            writer.write("/depth/camera_info", camera_info(camera, view.stamp, "depth_frame"), view.stamp)

    for frame, view in zip(open_sequence(bag(add)).frames, VIEWS, strict=True):
        read = frame.view().depth
        error = np.abs(read / view.depth - 1)[np.isfinite(read)]
        assert read.shape == view.depth.shape and np.isfinite(read).mean() > 0.6
        assert np.median(error) < 0.01 and (error < 0.05).mean() > 0.9


def test_depth_of_another_rate(bag, caplog):
    """A third of the rate, 20 ms after a picture and 5 ms before the next: the camera moved on meanwhile. Every third
    picture has none, which is said."""
    views = [replace(view, stamp=VIEWS[0].stamp + k * 25_000_000) for k, view in enumerate(VIEWS)]
    poses = [interpolate_pose(views[k].camera.c2w, views[k + 1].camera.c2w, 0.8) for k in (0, 3)]
    depths = room().render([views[0].camera.moved(c2w) for c2w in poses])[1]

    def add(writer):
        for view, depth in zip(views[::3], depths, strict=True):
            message = depth_image(depth, view.stamp + 20_000_000, "camera_optical_frame")
            writer.write("/camera/depth/image_raw", message, view.stamp + 20_000_000)

    frames = open_sequence(bag(add, views)).frames
    assert [frame.read_depth is not None for frame in frames] == [True, True, False] * 2
    assert "2 of 6 images have no depth" in caplog.text
    for frame, view, depth in zip(frames[::3], views[::3], depths, strict=True):
        read = frame.view().depth
        known = np.isfinite(read)
        error, of_another_pose = (np.median(np.abs(d / view.depth - 1)[known]) for d in (read, depth))
        assert known.mean() > 0.8 and error < min(0.01, 0.7 * of_another_pose)


def test_the_registered_depth_is_taken(bag):
    """The topic in the camera's frame is taken among several; a size that contradicts its CameraInfo is an error."""

    def add(writer):
        for view in VIEWS:
            camera = depth_camera(0, view)
            raw, frame_id = depth_image(np.full((H // 2, W // 2), 1.0), view.stamp, "base_link"), "camera_optical_frame"
            writer.write("/camera/depth/image_raw", raw, view.stamp)
            writer.write("/camera/depth/camera_info", camera_info(camera, view.stamp, "base_link"), view.stamp)
            writer.write("/camera/aligned/image_raw", depth_image(view.depth, view.stamp, frame_id), view.stamp)
            info = camera_info(view.camera if view is not VIEWS[1] else camera, view.stamp, frame_id)
            writer.write("/camera/aligned/camera_info", info, view.stamp)

    frames = open_sequence(bag(add)).frames
    np.testing.assert_allclose(frames[0].view().depth, VIEWS[0].depth, atol=6e-4)
    with pytest.raises(InvalidRequest, match=f"aligned/image_raw at .*{W}x{H} pixels, its calibration says {W // 2}x"):
        frames[1].view()


def test_depth_of_one_of_two_cameras_in_a_frame(bag):
    """The other one, whose name is farther from the depth's, has none."""

    def add(writer):
        for view in VIEWS:
            pixels = view.image.reshape(-1)
            other = ros.sensor_msgs__msg__Image(
                header(view.stamp, "camera_optical_frame"), H, W, "rgb8", 0, 3 * W, pixels
            )
            writer.write("/other/image_raw", other, view.stamp)
            writer.write("/other/camera_info", camera_info(view.camera, view.stamp, "camera_optical_frame"), view.stamp)
            depth = depth_image(view.depth, view.stamp, "camera_optical_frame")
            writer.write("/camera/depth/image_raw", depth, view.stamp)

    found = {(frame.camera_name, frame.read_depth is not None) for frame in open_sequence(bag(add)).frames}
    assert found == {("camera", True), ("other", False)}
