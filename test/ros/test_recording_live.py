# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same recording live and from the bag: the same key frames and pictures, bit for bit."""

import io
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from builders.bags import ros_header
from builders.encodings import is_wide, packed, stored
from PIL import Image as Picture
from rclpy.qos import QoSProfile
from robot import NodeThread
from rosbags.typesys.stores import ros2_jazzy as ros
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from gld_ros.data.bag_writer import BagWriter
from gld_ros.data.camera_messages import ENCODINGS
from gld_ros.data.recording import Recording
from gld_ros.data.sequence import open_sequence
from gld_ros.geometry.se3 import look_at, quaternion_from_matrix
from gld_ros.ros.conversions import ros_name

WIDTH, HEIGHT = 16, 12
K = np.array([20.0, 0, 7.3, 0, 21.0, 5.4, 0, 0, 1])
STAMPS = (5_000_000_000, 5_500_000_000)
TYPES = {ros_name(kind): kind for kind in (Image, CompressedImage, CameraInfo, TFMessage)}
COUNTS = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH)


def rgb(index):
    """Other colours for each image, of few frequencies, as Bayer patterns need it."""
    return cv2.resize(np.random.default_rng(index).integers(20, 230, (3, 3, 3), dtype=np.uint8), (WIDTH, HEIGHT))


def raw(encoding):
    """(index) -> fields of an Image: rows of the second one are padded, its bytes in the other order."""

    def fields(index):
        pixels = stored(rgb(index), encoding)
        wide = is_wide(encoding)
        return packed(
            pixels.astype(np.uint16) * 257 if wide else pixels, encoding, HEIGHT, 6 * index, wide and index > 0
        )

    return fields


def counts(index):
    """A thermal camera."""
    return packed(7400 + 3 * COUNTS + 5 * index, "mono16", HEIGHT)


def compressed(kind, pixels, **options):
    """(index) -> fields of a CompressedImage. kind: its format."""

    def fields(index):
        file = io.BytesIO()
        Picture.fromarray(pixels(index)).save(file, "PNG" if "png" in kind else "JPEG", **options)
        return {"format": kind, "data": np.frombuffer(file.getvalue(), np.uint8)}

    return fields


def turned():
    """EXIF says that the picture is to be turned: it stays as it is."""
    exif = Picture.Exif()
    exif[0x0112] = 6
    return exif


def with_alpha(index):
    return np.dstack([rgb(index), np.arange(WIDTH * HEIGHT, dtype=np.uint8).reshape(HEIGHT, WIDTH)])


def info(model="plumb_bob", d=(0.0,) * 5, zoom=1.0, binning=1, roi=(0, 0, 0, 0), beside=0.0):
    """(index) -> fields of a CameraInfo. zoom: of the second image. beside: metres right of the first camera."""

    def fields(index):
        k = K * np.array([zoom, 1, 1, 1, zoom, 1, 1, 1, 1]) if index else K.copy()
        k[[0, 2, 4, 5]] *= binning
        k[[2, 5]] += np.array(roi[:2])
        p = np.insert(k, (3, 6, 9), (-k[0] * beside, 0, 0))
        x, y, width, height = roi
        window = ros.sensor_msgs__msg__RegionOfInterest(x, y, height * binning, width * binning, False)
        size = (HEIGHT * binning + 2 * y, WIDTH * binning + 2 * x)
        return (*size, model, np.array(d), k, np.eye(3).ravel(), p, binning, binning, window)

    return fields


RGB8 = raw("rgb8")
CAMERAS = {f"of_{encoding}": (raw(encoding), info()) for encoding in ENCODINGS}
CAMERAS |= {
    "thermal": (counts, info()),
    "thermal_png": (compressed("mono16; png compressed ", lambda i: 7400 + 3 * COUNTS + 5 * np.uint16(i)), info()),
    "jpeg": (compressed("jpeg", rgb, exif=turned()), info()),
    "png": (compressed("png", with_alpha), info()),
    "mosaic_png": (compressed("bayer_rggb8; png compressed ", lambda i: stored(rgb(i), "bayer_rggb8")), info()),
    "plumb_bob": (RGB8, info(d=(-0.2, 0.05, 0.001, -0.002, 0.01))),
    "rational": (RGB8, info("rational_polynomial", (0.1, 0.02, 0.001, -0.002, 0.01, 0.2, 0.05, 0.01, 0.0))),
    "equidistant": (RGB8, info("equidistant", (0.1, -0.05, 0.01, 0.002, 0.0))),
    "bent_grey": (raw("mono16"), info(d=(-0.2, 0.05, 0.001, -0.002, 0.01))),
    "zoom": (RGB8, info(zoom=1.5)),
    "binned": (RGB8, info(binning=2)),
    "window": (RGB8, info(roi=(4, 6, WIDTH, HEIGHT))),
    "binned_window": (raw("nv12"), info(d=(-0.2, 0.05, 0, 0, 0), binning=2, roi=(4, 6, WIDTH, HEIGHT))),
    "right": (RGB8, info(beside=0.12)),
}


def messages():
    """(topic, message, stamp) of all cameras, on one mast that moves."""
    for index, stamp in enumerate(STAMPS):
        pose = look_at(np.array([0.4 * index, 0.1 * index, 1.0]), np.array([3.0, 0.2, 0.7]))
        transform = ros.geometry_msgs__msg__Transform(
            ros.geometry_msgs__msg__Vector3(*pose[:3, 3].tolist()),
            ros.geometry_msgs__msg__Quaternion(*quaternion_from_matrix(pose[:3, :3]).tolist()),
        )
        stamped = ros.geometry_msgs__msg__TransformStamped(ros_header(stamp, "map"), "mast", transform)
        yield "/tf", ros.tf2_msgs__msg__TFMessage([stamped]), stamp
        for name, (image, calibration) in CAMERAS.items():
            header, fields = ros_header(stamp, "mast"), image(index)
            if "format" in fields:
                picture = ros.sensor_msgs__msg__CompressedImage(header, **fields)
            else:
                picture = ros.sensor_msgs__msg__Image(header, height=HEIGHT, width=WIDTH, **fields)
            yield f"/{name}/camera_info", ros.sensor_msgs__msg__CameraInfo(header, *calibration(index)), stamp
            yield f"/{name}/image", picture, stamp


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The bag, and its frames by camera, in time order."""
    path = tmp_path_factory.mktemp("recording") / "bag"
    with BagWriter(path) as writer:
        for topic, message, stamp in messages():
            writer.write(topic, message, stamp)
    frames = {name: [] for name in CAMERAS}
    for frame in open_sequence(path).frames:
        frames[frame.camera_name].append(frame.view())
    assert {len(views) for views in frames.values()} == {2}
    return path, frames


def node_of(image, **parameters):
    """gld_node with a camera for each of the recording's; image: the name of their topics below the camera's."""
    topics = {
        "image_topics": f"[{', '.join(f'/{name}/{image}' for name in CAMERAS)}]",
        "camera_info_topics": f"[{', '.join(f'/{name}/camera_info' for name in CAMERAS)}]",
    }
    return NodeThread(context_capacity=1000, pose_jump_translation=1e5, **topics, **parameters)


def kept(node):
    """The key frames by camera, in time order."""
    found = {name: [] for name in CAMERAS}
    for topic, view in node.node.key_frames.named_frames():
        found[topic.split("/")[1]].append(view)
    return {name: sorted(views, key=lambda view: view.stamp) for name, views in found.items()}


def complete(node):
    return all(len(views) == 2 for views in kept(node).values())


def test_live_messages_give_what_the_bag_gives(robot, recording):
    path, frames = recording
    with Recording(path).reading() as bag:
        topics, sent = bag.topics, list(bag.messages(bag.topics))
    # Before the node listens: DDS gives a topic one type in a process.
    publishers = {
        topic: robot.node.create_publisher(TYPES[kind], topic, QoSProfile(depth=50)) for topic, kind in topics.items()
    }
    try:
        with node_of("image") as node:
            robot.wait(lambda: all(p.get_subscription_count() for p in publishers.values()), "subscriptions")

            def all_there():
                for message in sent:
                    publishers[message.topic].publish(bytes(message.data))
                    time.sleep(0.001)
                time.sleep(0.5)
                return complete(node)

            robot.wait(all_there, "two key frames of each camera")
            live = kept(node)
    finally:
        for publisher in publishers.values():
            robot.node.destroy_publisher(publisher)
    for name, views in frames.items():
        for of_bag, of_topics in zip(views, live[name], strict=True):
            np.testing.assert_array_equal(of_topics.image, of_bag.image, name)
            np.testing.assert_array_equal(of_topics.camera.K, of_bag.camera.K, name)
            np.testing.assert_allclose(of_topics.camera.c2w, of_bag.camera.c2w, atol=1e-9, err_msg=name)
            assert of_topics.stamp == of_bag.stamp


def test_a_replayed_bag_gives_what_the_bag_gives(robot, recording):
    path, frames = recording
    options = {"sequence": path, "stamps": "recorded", "loop": True, "wait_for_subscribers": 1}
    arguments = [part for name, value in options.items() for part in ("-p", f"{name}:={value}")]
    with node_of("image_raw") as node:
        replay = subprocess.Popen([sys.executable, "-m", "gld_ros.ros.drivers.replay", "--ros-args", *arguments])
        try:
            robot.wait(lambda: complete(node), "two key frames of each camera")
            live = kept(node)
        finally:
            replay.terminate()
            replay.wait(30)
    for name, views in frames.items():
        for of_bag, of_topics in zip(views, live[name], strict=True):
            np.testing.assert_array_equal(of_topics.image, of_bag.image, name)
            np.testing.assert_allclose(of_topics.camera.K, of_bag.camera.K, atol=1e-9, err_msg=name)
            np.testing.assert_allclose(of_topics.camera.c2w, of_bag.camera.c2w, atol=1e-9, err_msg=name)
