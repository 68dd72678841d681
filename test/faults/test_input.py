# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults of cameras, clocks and TF."""

import math
import time
from functools import partial

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from gld_ros.ros import conversions

HOUR = 3_600_000_000_000
NAN, INF = math.nan, math.inf


def fields(which, **values):
    """A change of (image, info, transform): dotted names with __ instead of dots."""

    def change(*messages):
        message = messages[which]
        for path, value in values.items():
            *parents, last = path.split("__")
            target = message
            for parent in parents:
                target = getattr(target, parent)
            setattr(target, last, value)

    return change


image, info, tf = (partial(fields, which) for which in range(3))
K = [51.2, 0.0, 31.5, 0.0, 51.2, 23.5, 0.0, 0.0, 1.0]

#: What is wrong with each of some frames, the count that has to go up, and what the log says.
FRAMES = {
    "no pixel data": (image(data=b""), "dropped_invalid"),
    "truncated": (image(data=bytes(100)), "dropped_invalid", "do not fit into 100 bytes"),
    "more data than pixels": (image(data=bytes(100_000)), "received"),
    "step too small": (image(step=7), "dropped_invalid"),
    "step zero": (image(step=0), "dropped_invalid"),
    "step huge": (image(step=2**32 - 1), "dropped_invalid"),
    "width zero": (image(width=0), "dropped_invalid"),
    "four billion columns": (image(width=2**32 - 1, height=2**32 - 1), "dropped_invalid"),
    "another size than its CameraInfo": (
        image(width=32, step=96), "dropped_invalid", "'/image': image of 32x48 pixels, its calibration says 64x48",
    ),
    "no encoding": (image(encoding=""), "dropped_invalid"),
    "unknown encoding": (
        image(encoding="rgb9"), "dropped_invalid", "'/image': cannot decode an image of encoding 'rgb9'",
    ),
    "depth instead of colour": (image(encoding="32FC1"), "dropped_invalid"),
    "encoding with other bytes a pixel": (image(encoding="rgba16"), "dropped_invalid"),
    "encoding changes": (image(encoding="bgr8"), "key_frames"),
    "K zero": (info(k=[0.0] * 9), "dropped_invalid", "'/camera_info': CameraInfo: K is all zeros"),
    "K NaN": (info(k=[NAN] * 9), "dropped_invalid"),
    "K infinite": (info(k=[INF, *K[1:]]), "dropped_invalid"),
    "focal length negative": (info(k=[-51.2, *K[1:]]), "dropped_invalid"),
    "size of CameraInfo zero": (info(width=0, height=0), "dropped_invalid"),
    "unknown distortion": (
        info(distortion_model="fisheye42", d=[0.1] * 4), "dropped_invalid",
        "'/camera_info': CameraInfo: unknown distortion model 'fisheye42'",
    ),
    "too few distortion coefficients": (info(distortion_model="plumb_bob", d=[0.1]), "dropped_invalid"),
    "distortion NaN": (info(distortion_model="plumb_bob", d=[NAN] * 5), "dropped_invalid"),
    "distortion beyond sense": (info(distortion_model="plumb_bob", d=[1e30] * 5), "received"),
    "region outside of the image": (info(roi__x_offset=4_000_000_000, roi__width=3), "dropped_invalid"),
    "binning too large": (info(binning_x=4_000_000_000), "received"),
    "no frame": (
        lambda i, c, t: (image(header__frame_id="")(i, c, t), info(header__frame_id="")(i, c, t)),
        "dropped_invalid", "'/image': neither the image nor its CameraInfo names a frame_id",
    ),
    "frame unknown": (
        image(header__frame_id="nowhere"), "dropped_no_pose",
        "'/image': dropped an image: no pose within 0.3 s: no transform from 'nowhere'",
    ),
    "frame of a thousand letters": (image(header__frame_id="f" * 1000), "dropped_no_pose"),
    "frame with a slash": (image(header__frame_id="/camera"), "key_frames"),
    "frame in Greek": (image(header__frame_id="κάμερα"), "dropped_no_pose"),
    "no TF": (tf(child_frame_id="someone_else"), "dropped_no_pose"),
    "TF of the past only": (tf(header__stamp=conversions.ns_to_stamp(10**9)), "dropped_no_pose"),
    "TF NaN": (tf(transform__translation__x=NAN), "dropped_no_pose"),
    "TF infinite": (tf(transform__translation__x=INF), "dropped_no_pose"),
    "TF beyond all numbers": (tf(transform__translation__y=-1.7e210), "dropped_no_pose"),
    "quaternion zero": (tf(transform__rotation__w=0.0), "dropped_no_pose"),
    "quaternion NaN": (tf(transform__rotation__w=NAN), "dropped_no_pose"),
    "quaternion of norm 5": (tf(transform__rotation__w=5.0), "received"),
    "TF frame its own parent": (tf(header__frame_id="camera"), "dropped_no_pose"),
    "TF without a parent": (tf(header__frame_id=""), "dropped_no_pose"),
    "TF of another tree": (tf(header__frame_id="island"), "received"),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_frame(patient, name):
    change, key, *warnings = FRAMES[name]
    if warnings:
        patient.expect_warnings()
    before, dropped = patient.received(key=key), patient.received(key="dropped")

    def counted():
        patient.send(change=change)
        time.sleep(0.02)
        return patient.received(key=key) > before and all(map(patient.logged, warnings))

    patient.wait(counted, f"a count of {key} and {warnings}")
    assert patient.received(key="dropped") > dropped or "dropped" not in key
    patient.send()  # a healthy frame, which joins the trees again
    patient.good()


def stalls(patient):
    patient.expect_warnings()
    patient.wait(lambda: patient.logged("no input on '/image' ("), "a warning of silence")
    assert patient.logged(" s, 1 publishers), '/camera_info'")


def starts_again(patient):
    """A bag's loop: an hour back."""
    patient.expect_warnings()
    patient.send(stamp=time.time_ns() - HOUR)
    patient.wait(lambda: len(patient.gld_node.key_frames) < 3, "the context to be cleared")
    patient.wait(lambda: patient.logged("time jumped backwards"), "a warning")


def comes_from_the_future(patient):
    patient.send(stamp=time.time_ns() + HOUR)
    patient.send()


def beyond_all_time(patient):
    patient.send(stamp=(2**31 - 1) * 10**9)
    patient.send()


def without_stamp(patient):
    patient.expect_warnings()
    patient.send(stamp=0)
    patient.wait(lambda: patient.logged("'/image': the stamp is zero"), "a warning")


def impossible_stamp(patient):
    patient.send(change=lambda i, c, t: setattr(i.header.stamp, "nanosec", 2**32 - 1))


def reorders(patient):
    frames = [patient.frame(patient.x + i / 10, stamp=time.time_ns() + i * 10**6) for i in range(20)]
    for i, c, t in reversed(frames):
        patient.tf.publish(TFMessage(transforms=[t]))
        patient.image.publish(i)
        patient.info.publish(c)


def duplicates(patient):
    i, c, t = patient.frame(patient.x + 0.3)
    patient.tf.publish(TFMessage(transforms=[t]))
    for _ in range(10):
        patient.image.publish(i)
        patient.info.publish(c)


def bursts(patient):
    for _ in range(100):
        patient.send()


def only_images(patient):
    patient.expect_warnings()

    def warned():
        patient.image.publish(patient.frame(0.0)[0])
        return patient.logged("none of the same stamp came on '/camera_info'")

    patient.wait(warned, "a warning")
    assert patient.received(key="dropped_unpaired")


def only_infos(patient):
    for _ in range(70):
        patient.info.publish(patient.frame(0.0)[1])


def empty_messages(patient):
    for _ in range(5):
        patient.image.publish(Image())
        patient.info.publish(CameraInfo())
        patient.tf.publish(TFMessage())
        patient.tf.publish(TFMessage(transforms=[TransformStamped()]))


def changes_its_size(patient):
    big = np.zeros((96, 128, 3), np.uint8)

    def change(i, c, t):
        new = conversions.image_to_msg(big, "rgb8", i.header)
        i.data, i.width, i.height, i.step = new.data, new.width, new.height, new.step
        c.width, c.height = 128, 96

    patient.send(change=change)
    frames = patient.gld_node.key_frames.frames
    patient.wait(lambda: any(frame.camera.width == 128 for frame in frames()), "the frame of another size")
    patient.gld_node.key_frames.clear()  # views are of the size of the frames


def second_driver(patient):
    """Two drivers on the same topics, a metre apart."""
    for _ in range(10):
        patient.send()
        patient.send(patient.x - 1.0)


def join(patient, *pairs):
    """Publish identities between frames, all of now."""
    now = conversions.ns_to_stamp(time.time_ns())
    links = [
        TransformStamped(header=Header(stamp=now, frame_id=parent), child_frame_id=child) for parent, child in pairs
    ]
    patient.tf.publish(TFMessage(transforms=links))


def two_parents(patient):
    for parent in ("map", "odom", "map", "odom"):
        join(patient, (parent, "camera"))
    patient.send()


def loop(patient):
    join(patient, ("map", "camera"), ("camera", "arm"), ("arm", "map"))
    patient.send()
    time.sleep(0.1)
    # map has a parent from now on: a tree with another root, which the camera still belongs to
    join(patient, ("root", "map"))


def teleports(patient):
    patient.send(patient.x + 1e7)
    patient.send()
    patient.gld_node.key_frames.clear()


def asks_with_a_qos_that_does_not_fit(patient):
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = patient.node.create_publisher(PoseStamped, "gld_node/request", best_effort)
    reason = "'/gld_node/request': nothing is received from a publisher whose QoS does not fit in RELIABILITY"
    patient.wait(lambda: patient.logged(reason), "a warning")
    assert patient.received("/gld_node/request", "incompatible_qos")
    patient.node.destroy_publisher(publisher)


OTHERS = (
    stalls, starts_again, comes_from_the_future, beyond_all_time, without_stamp, impossible_stamp, reorders, duplicates,
    bursts, only_images, only_infos, empty_messages, changes_its_size, second_driver, two_parents, loop, teleports,
    asks_with_a_qos_that_does_not_fit,
)  # fmt: skip


@pytest.mark.parametrize("fault", OTHERS, ids=lambda fault: fault.__name__)
def test_stream(patient, fault):
    fault(patient)
    patient.send()
    patient.good()


def test_the_map_frame_moves(patient):
    """A loop closure: map -> odom changes in the history of TF (static); key frames move along, or go."""
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = patient.node.create_publisher(TFMessage, "/tf_static", latched)

    def odometry(x):
        transform = TransformStamped(header=Header(frame_id="map"), child_frame_id="odom2")
        transform.transform.translation.x = x
        publisher.publish(TFMessage(transforms=[transform]))

    patient.restart()
    odometry(0.0)
    time.sleep(0.2)

    def filled():
        patient.send(
            frame="camera2", change=lambda i, c, t: setattr(t.header, "frame_id", "odom2") if t is not None else None
        )
        time.sleep(0.05)
        return len(patient.gld_node.key_frames) >= 3

    patient.wait(filled, "key frames")
    before = {frame.stamp: frame.camera.c2w[0, 3] for frame in patient.gld_node.key_frames.frames()}
    jumps = patient.gld_node.pose_jumps
    odometry(7.0)
    patient.wait(lambda: patient.gld_node.pose_jumps > jumps, "the jump")
    time.sleep(0.3)
    after = {frame.stamp: frame.camera.c2w[0, 3] for frame in patient.gld_node.key_frames.frames()}
    kept = before.keys() & after.keys()  # others came later
    assert kept and all(after[stamp] == pytest.approx(before[stamp] + 7.0) for stamp in kept)
    patient.wait(lambda: patient.value("pose_jumps") == str(jumps + 1), "the count in the diagnostics")
    patient.node.destroy_publisher(publisher)
    patient.gld_node.key_frames.clear()
    patient.good()
