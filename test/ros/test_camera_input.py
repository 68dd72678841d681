# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What cameras can get wrong: each is counted, named in the log, and the node goes on."""

import time

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy
from robot import NodeThread, logged
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from gld_ros.ros import conversions
from gld_ros.srv import SynthesizeViews


@pytest.fixture(scope="module")
def node(robot):
    with NodeThread(input_timeout=1.0, tf_timeout=0.3, pending_frames=5) as process:
        robot.fill_context(0, 2, 4)
        yield process


def clear(robot):
    client = robot.node.create_client(Trigger, "gld_node/clear_context")
    robot.wait(client.service_is_ready, "clear_context")
    assert robot.result(client.call_async(Trigger.Request())).success


BAD_FRAMES = {
    "encoding": (lambda r: {"image": Image(width=192, height=144, step=576, encoding="magic8", data=bytes(82944))},
                 "dropped_invalid", "'/image': cannot decode an image of encoding 'magic8'"),
    "too few bytes": (lambda r: {"image": Image(width=192, height=144, step=576, encoding="rgb8", data=bytes(9))},
                      "dropped_invalid", "'/image'.*do not fit into 9 bytes"),
    "size": (lambda r: {"image": conversions.image_to_msg(np.zeros((72, 96, 3), np.uint8), "rgb8", Header())},
             "dropped_invalid", "'/image': image of 96x72 pixels, its calibration says 192x144"),
    "K of zeros": (lambda r: {"info": CameraInfo(width=192, height=144)},
                   "dropped_invalid", "'/camera_info': CameraInfo: K has fx=0"),
    "distortion": (lambda r: {"info": CameraInfo(width=192, height=144, distortion_model="magic", d=[0.1],
                                                 k=[99.0, 0, 9, 0, 99, 9, 0, 0, 1])},
                   "dropped_invalid", "'/camera_info': CameraInfo: unknown distortion model 'magic'"),
    "no pose": (lambda r: {"frame": "lost_camera", "with_tf": False},
                "dropped_no_pose", "'/image': dropped an image: no pose within 0.3 s: no transform from 'lost_camera'"),
    "no frame": (lambda r: {"frame": "", "with_tf": False},
                 "dropped_invalid", "'/image': neither the image nor its CameraInfo names a frame_id"),
    "no camera info": (lambda r: {"with_info": False},
                       "dropped_unpaired", "'/image': .*none of the same stamp came on '/camera_info'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames_are_counted_and_named(robot, node, name):
    fields, counter, reason = BAD_FRAMES[name]
    clear(robot)  # else a frame near a key frame is not even decoded
    before = robot.counts("/image").get(counter, 0)

    def warned():
        robot.send(0, **fields(robot))
        time.sleep(0.2)
        return logged(node, reason)()

    robot.wait(warned, reason)
    counts = robot.counts("/image")
    assert counts[counter] > before and counts["dropped"] >= counts[counter]
    robot.fill_context(0, 2, 4)
    answer = robot.synthesize(SynthesizeViews.Request(poses=robot.poses(1)))
    assert answer.error_code == SynthesizeViews.Response.NONE


def test_zero_stamp(robot, node):
    header = Header(frame_id="camera")

    def warned():
        robot.image.publish(conversions.image_to_msg(robot.pictures[0], "rgb8", header))
        time.sleep(0.2)
        return logged(node, "'/image': the stamp is zero")()

    robot.wait(warned, "warning")


def test_silence_is_named(robot, node):
    robot.wait(logged(node, r"no input on '/image' \(\d+ s, 1 publishers\), '/camera_info'"), "warning")


def test_a_publisher_whose_qos_does_not_fit_is_named(robot, node):
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = robot.node.create_publisher(PoseStamped, "gld_node/request", best_effort)
    reason = "'/gld_node/request': nothing is received from a publisher whose QoS does not fit in RELIABILITY"
    robot.wait(logged(node, reason), reason)
    assert robot.counts("/gld_node/request")["incompatible_qos"] >= 1
    robot.node.destroy_publisher(publisher)


def test_a_clock_that_jumps_back_clears_the_context(robot, node):
    clear(robot)
    robot.fill_context(0)
    header = Header(stamp=conversions.ns_to_stamp(10**9), frame_id="camera")
    for _ in range(3):
        robot.image.publish(conversions.image_to_msg(robot.pictures[0], "rgb8", header))
        time.sleep(0.1)
    robot.wait(logged(node, "time jumped backwards"), "warning")
    robot.wait(lambda: robot.diagnostics()["node"]["key_frames"] == "0", "forgotten key frames")
    clear(robot)
    robot.fill_context(0, 2)


def test_poses_from_a_topic_and_compressed_images(robot):
    """Two cameras, one compressed, poses as Odometry of another frame than the camera's."""
    process = NodeThread(
        image_topics="[left/image, right/image/compressed]",
        camera_info_topics="[left/info, right/info]",
        pose_source="odometry",
        pose_topic="odom",
        map_frame="odom",
        input_timeout=1.0,
        __ns="/robot1",
    )
    publish = robot.node.create_publisher
    left, right = (
        publish(Image, "/robot1/left/image", 10),
        publish(CompressedImage, "/robot1/right/image/compressed", 10),
    )
    infos = [publish(CameraInfo, f"/robot1/{side}/info", 10) for side in ("left", "right")]
    odometry = publish(Odometry, "/robot1/odom", 10)
    robot.wait(lambda: all(p.get_subscription_count() for p in (left, right, *infos, odometry)), "subscriptions")

    def kept():
        for index in (0, 2):
            camera, header = robot.cameras[index], Header(stamp=conversions.ns_to_stamp(time.time_ns()))
            png = cv2.imencode(".png", robot.pictures[index][..., ::-1])[1].tobytes()
            header.frame_id = "camera"
            left.publish(conversions.image_to_msg(robot.pictures[index], "rgb8", header))
            right.publish(CompressedImage(header=header, format="png", data=png))
            for info in infos:
                info.publish(conversions.info_from_camera(camera, header))
            message = Odometry(header=Header(stamp=header.stamp, frame_id="odom"), child_frame_id="camera")
            message.pose.pose = conversions.matrix_to_pose(camera.c2w)
            odometry.publish(message)
        time.sleep(0.2)
        return robot.diagnostics("/robot1/gld_node")["node"]["key_frames"] == "4"

    robot.wait(kept, "two key frames of each camera")
    bad = Odometry(header=Header(stamp=conversions.ns_to_stamp(time.time_ns()), frame_id="odom"))
    bad.pose.pose.orientation.w = 0.0
    odometry.publish(bad)
    robot.wait(logged(process, "'/robot1/odom': pose: the quaternion has norm 0"), "warning")
    robot.wait(logged(process, "no input on.*'/robot1/odom'"), "warning of silence")
    assert process.stop()


def test_poses_without_images_are_named(robot):
    process = NodeThread(pose_source="pose", input_timeout=1.0, __node="other")
    poses = robot.node.create_publisher(PoseStamped, "pose", 10)

    # The first warning may come before the first pose is heard, and name the poses too.
    silent = r"no input on '/image'[^']*'/camera_info' \(\d+ s, 1 publishers\)( \(\d+ more[^\n]*)?\n"

    def warned():
        poses.publish(PoseStamped(header=Header(stamp=conversions.ns_to_stamp(time.time_ns()), frame_id="map")))
        time.sleep(0.1)
        return logged(process, silent)()

    try:
        robot.wait(warned, "warning")
    finally:
        assert process.stop()
