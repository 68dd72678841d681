# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras and poses on topics of their own; test/faults has what can be wrong with them."""

import time

import cv2
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from robot import NodeThread, logged
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from gld_ros.ros import conversions


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


def test_an_image_topic_has_the_type_that_is_published(robot):
    """CompressedImage on a name without /compressed; TF of a namespace is named."""
    jpeg = robot.node.create_publisher(CompressedImage, "/cam/image_jpeg", 10)
    info = robot.node.create_publisher(CameraInfo, "/cam/info", 10)
    transforms = robot.node.create_publisher(TFMessage, "/robot7/tf", 10)
    process = NodeThread(
        image_topics="[/cam/image_jpeg]", camera_info_topics="[/cam/info]", tf_timeout=0.2, __node="other"
    )

    def warned():
        header = Header(stamp=conversions.ns_to_stamp(time.time_ns()), frame_id="lost_camera")
        data = cv2.imencode(".jpg", robot.pictures[0][..., ::-1])[1].tobytes()
        jpeg.publish(CompressedImage(header=header, format="jpeg", data=data))
        info.publish(conversions.info_from_camera(robot.cameras[0], header))
        time.sleep(0.1)
        return logged(
            process, r"'/cam/image_jpeg': dropped an image.*TF is taken from '/tf', others are '/robot7/tf'"
        )()

    try:
        robot.wait(warned, "warning")
    finally:
        assert process.stop()
        for publisher in (jpeg, info, transforms):
            robot.node.destroy_publisher(publisher)


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
