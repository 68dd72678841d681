# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth sensors over DDS: metres without a baseline, other lenses and resolutions, no partner, nonsense; the map."""

import struct
import time

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import NodeThread, logged
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

from gld_ros.data.camera_messages import camera_model
from gld_ros.data.sequence import open_sequence
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.points import project
from gld_ros.ros import conversions
from gld_ros.ros.demo.recorder import Recorder
from gld_ros.ros.node.depth import PairedDepth, PosedImage
from gld_ros.srv import SynthesizeViews

Response = SynthesizeViews.Response
MOUNT = np.eye(4)  # of the depth camera in the colour camera's frame
MOUNT[:3, :3], MOUNT[:3, 3] = cv2.Rodrigues(np.array([0.02, -0.15, 0.03]))[0], (0.15, -0.03, 0.0)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class DepthCamera:
    """The depth sensor of a robot's camera. picture: what it sends next, and its encoding."""

    def __init__(self, robot, topic="depth", kind=Image):
        self.robot = robot
        self.picture = robot.depths[0].astype(np.float32), "32FC1"
        self.publisher = robot.node.create_publisher(kind, topic, 10)

    def send(self, stamp=None):
        """One picture of the first pose and, unless it is None, its depth."""
        stamp = self.robot.send(0) if stamp is None else stamp
        if self.picture is not None:
            header = Header(stamp=conversions.ns_to_stamp(stamp), frame_id=self.robot.camera_frame)
            self.publisher.publish(conversions.image_to_msg(*self.picture, header))
        time.sleep(0.05)

    def until(self, condition, what):
        """Send until `condition()`."""
        self.robot.wait(lambda: self.send() or condition(), what)

    def close(self):
        self.robot.node.destroy_publisher(self.publisher)


@pytest.fixture
def sensor(robot):
    sensor = DepthCamera(robot)
    yield sensor
    sensor.close()


def seen(process):
    """The key frames of a node."""
    return process.node.key_frames.frames()


def error(depth, true):
    """Median relative error where depth is known."""
    known = np.isfinite(depth)
    return np.median(np.abs(depth / true - 1)[known])


def test_metres_without_a_baseline(robot, sensor):
    """One key frame: without depth its scale is not known; depth that comes later, or is mended, makes it metric."""
    with NodeThread(depth_topics="[depth]", tf_timeout=0.3) as process:
        sensor.picture = None
        sensor.until(lambda: seen(process), "a key frame without depth")
        assert "an image goes on without depth: none within 0.02 s of its stamp (depth_slop) on '/depth'" in process.log
        assert robot.counts("/image")["without_depth"] >= 1
        refused = robot.ask(0)
        assert refused.error_code == Response.SCALE_UNKNOWN and "no depth images" in refused.error_message
        sensor.picture = np.full((144, 192), 9, np.uint8), "mono8"
        sensor.until(logged(process, "'/depth': depth of encoding 'mono8', expected is one of 16UC1, 32FC1"), "warning")
        assert robot.counts("/depth")["dropped_invalid"] >= 1 and seen(process)[0].depth is None
        sensor.picture = robot.depths[0].astype(np.float32), "32FC1"
        sensor.until(lambda: seen(process)[0].depth is not None, "depth")
        assert len(seen(process)) == 1
        np.testing.assert_array_equal(seen(process)[0].depth, robot.depths[0].astype(np.float32))
        answer = robot.ask(1)
        assert (answer.error_code, answer.error_message) == (Response.NONE, "")
        (view,) = answer.views
        depth = np.frombuffer(view.depth.data, np.float32).reshape(144, 192)
        observed = np.frombuffer(view.generated.data, np.uint8).reshape(144, 192) == 0
        assert view.scale_method == "depth" and observed.mean() > 0.5
        assert error(depth[observed], robot.depths[1][observed]) < 0.02


def test_registered_depth_has_the_frame_of_its_pictures(robot):
    header, camera = Header(frame_id="another"), robot.cameras[0]
    depth = conversions.image_to_msg(robot.depths[0].astype(np.float32), "32FC1", header)
    info = conversions.info_from_camera(camera, header)
    picture = PosedImage("/image", "camera", 1, camera.c2w, Image(), camera_model(info))
    with pytest.raises(
        InvalidRequest, match="'/depth': its frame is 'another', expected is that of the images, 'camera'"
    ):
        PairedDepth("/depth", depth, None, camera.c2w, False).read(picture, camera)


def test_depth_of_another_camera(robot, tmp_path):
    """Half the size, another lens, beside the colour camera by TF, compressed, 5 ms before the picture; and the same
    from a bag of it."""
    recorder_node = rclpy.create_node("recorder")
    robot._executor.add_node(recorder_node)
    recorder = Recorder(recorder_node, tmp_path / "bag")
    depth_camera = Camera(intrinsics(60, 60, 48, 36), robot.cameras[0].c2w @ MOUNT, 96, 72)
    millimetres = (robot.room.render([depth_camera])[1][0] * 1000).astype(np.uint16)
    publisher = robot.node.create_publisher(CompressedImage, "depth/image_raw/compressedDepth", 10)
    infos = robot.node.create_publisher(CameraInfo, "depth/camera_info", 10)
    data = struct.pack("<iff", 0, 0, 0) + cv2.imencode(".png", millimetres)[1].tobytes()

    def kept():
        for late in (20_000_000, 0):
            stamp = robot.send(0, with_info=not late)  # the first for its TF alone
            header = Header(stamp=conversions.ns_to_stamp(stamp - 5_000_000), frame_id="depth_camera")
            tf_header = Header(stamp=header.stamp, frame_id="camera")
            mount = robot.transform(MOUNT, header.stamp, "camera", "depth_camera")
            robot.tf.sendTransform([mount, *robot.transforms(0, tf_header)])
            if not late:
                infos.publish(conversions.info_from_camera(depth_camera, header))
                publisher.publish(CompressedImage(header=header, format="16UC1; compressedDepth png", data=data))
            time.sleep(0.05)
        return [frame for frame in seen(process) if frame.depth is not None]

    depth_topic, info_topic = "/depth/image_raw/compressedDepth", "/depth/camera_info"
    robot.wait(lambda: recorder.subscribed >= {"/image", "/camera_info", "/tf", depth_topic, info_topic}, "recorder")
    topics = {"depth_topics": f"[{depth_topic}]", "depth_camera_info_topics": f"[{info_topic}]"}
    with NodeThread(**topics, tf_timeout=0.5) as process:
        (frame,) = robot.wait(kept, "a key frame with depth")
        assert frame.depth.shape == (144, 192) and np.isfinite(frame.depth).mean() > 0.7
        assert error(frame.depth, robot.depths[0]) < 0.004
        answer = robot.ask(0)
        assert answer.error_code == Response.NONE and answer.views[0].scale_method == "depth"
    recorder.close()
    robot._executor.remove_node(recorder_node)
    recorder_node.destroy_node()
    for one in (publisher, infos):
        robot.node.destroy_publisher(one)
    (recorded,) = [one.view().depth for one in open_sequence(tmp_path / "bag").frames if one.stamp == frame.stamp]
    same = np.isclose(recorded, frame.depth, rtol=1e-5, equal_nan=True)
    assert same.mean() > 0.999  # rounding of a pose may put a point into the next pixel


def test_the_map_has_what_the_sensor_measured(robot, sensor):
    """A robot that stands: the sensor says that there is a wall 1.5 m ahead, whatever the picture shows."""
    sensor.picture = np.full((144, 192), 1500, np.uint16), "16UC1"
    clouds = []
    listener = robot.node.create_subscription(PointCloud2, "gld_node/map/observed", clouds.append, LATCHED)
    with NodeThread(depth_topics="[depth]", map_enabled=True, map_rate=5.0) as process:
        sensor.until(lambda: seen(process), "a key frame")
        robot.wait(lambda: clouds and clouds[-1].width, "observed points")
    points = point_cloud2.read_points(clouds[-1])
    _, z = project(np.stack([points[name] for name in "xyz"], axis=1).astype(np.float64), robot.cameras[0])
    assert len(z) > 300 and np.abs(z - 1.5).max() < 0.06
    robot.node.destroy_subscription(listener)
