# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Live samples of field cases: latched CameraInfo, other stamps and clocks, stereo pairs, raw counts, the future."""

import time

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import NodeThread, logged
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from gld_ros.ros import conversions

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SECOND = 1_000_000_000


class Sender:
    """A camera of the robot with topics of its own. late: ns of its images after CameraInfo; clock: of both, ns."""

    def __init__(self, robot, name, qos=10, late=0, clock=lambda now: now, beside=0.0, frame="camera"):
        self.robot, self.frame, self.late, self.clock, self.beside = robot, frame, late, clock, beside
        self.image = robot.node.create_publisher(Image, f"/{name}/image", 10)
        self.info = robot.node.create_publisher(CameraInfo, f"/{name}/info", qos)

    def header(self, stamp):
        return Header(stamp=conversions.ns_to_stamp(stamp), frame_id=self.frame)

    def calibrate(self, stamp, zoom=1.0):
        message = conversions.info_from_camera(self.robot.cameras[0], self.header(stamp))
        message.k[0] = message.p[0] = message.k[0] * zoom
        message.p[3] = -message.p[0] * self.beside
        self.info.publish(message)

    def send(self, index, calibrate=True, counts=None):
        """TF, CameraInfo and image of now."""
        now = time.time_ns()
        for moment in (now, now + self.late):
            self.robot.tf.sendTransform(
                self.robot.transforms(index, Header(stamp=conversions.ns_to_stamp(moment), frame_id=self.frame))
            )
        stamp = self.clock(now)
        if calibrate:
            self.calibrate(stamp)
        picture, encoding = (self.robot.pictures[index], "rgb8") if counts is None else (counts, "mono16")
        self.image.publish(conversions.image_to_msg(picture, encoding, self.header(stamp + self.late)))
        time.sleep(0.05)

    def close(self):
        for publisher in (self.image, self.info):
            self.robot.node.destroy_publisher(publisher)


@pytest.fixture
def sender(robot):
    """(name, options) -> Sender."""
    made = []

    def make(*arguments, **options):
        made.append(Sender(robot, *arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def node_of(*names, **parameters):
    images, infos = ([f"/{name}/{topic}" for name in names] for topic in ("image", "info"))
    listed = {"image_topics": f"[{', '.join(images)}]", "camera_info_topics": f"[{', '.join(infos)}]"}
    return NodeThread(__node="field", tf_timeout=0.3, **listed, **parameters)


def views(node):
    return node.node.key_frames.frames()


def test_latched_camera_info_of_a_driver_that_started_before(robot, sender):
    camera = sender("early", LATCHED)
    camera.calibrate(0)  # not stamped at all
    with node_of("early", input_timeout=0.5) as node:
        robot.wait(lambda: [camera.send(k, calibrate=False) for k in (0, 2, 4)] and len(views(node)) == 3, "key frames")
        camera.calibrate(time.time_ns(), zoom=1.5)  # it changes
        node.node.key_frames.clear()
        robot.wait(lambda: [camera.send(k, calibrate=False) for k in (0, 2)] and len(views(node)) >= 2, "key frames")
        assert views(node)[-1].camera.K[0, 0] == pytest.approx(1.5 * robot.cameras[0].K[0, 0])
        assert "no input on '/early/info'" not in node.log


@pytest.mark.parametrize(
    ("late", "says"), ((15_000_000, r"0\.015 s apart.*pairing_slop"), (5 * SECOND, r"apart.*of different clocks"))
)
def test_stamps_that_never_meet(robot, sender, late, says):
    camera = sender("restamped", late=late)
    with node_of("restamped") as node:
        robot.wait(lambda: camera.send(0) or logged(node, says)(), "a warning")
        assert not views(node)


def test_a_camera_with_a_clock_of_its_own(robot, sender):
    start = time.time_ns()
    camera = sender("own_clock", clock=lambda now: now - start + 6 * SECOND)
    with node_of("own_clock") as node:
        says = r"the images are stamped \d+\.\d{3} s, the poses \d{10}\.\d{3} s: they are of different clocks"
        robot.wait(lambda: camera.send(0) or logged(node, says)(), "a warning")


@pytest.mark.parametrize("rectified", (True, False))
def test_a_stereo_pair_in_one_frame(robot, sender, rectified):
    left, right = sender("left"), sender("right", beside=0.2)
    with node_of("left", "right", rectified=rectified) as node:
        robot.wait(
            lambda: [camera.send(0) for camera in (left, right)] and len(views(node)) == 2, "a key frame of each camera"
        )
        robot.wait(lambda: int(robot.diagnostics("/field")["node"]["key_frames"]) == 2, "diagnostics")
        found = {name: view.camera for name, view in node.node.key_frames.named_frames()}
        relative = found["/left/image"].w2c @ found["/right/image"].c2w
        np.testing.assert_allclose(relative[:3, 3], (0.2, 0, 0), atol=1e-6)
        assert node.node.pose_jumps == 0


def test_raw_counts(robot, sender):
    """The range is found, and grows; a given one stays."""
    grey = robot.pictures[0].mean(axis=2)
    camera, given = sender("thermal"), sender("given")
    with node_of("thermal") as node:
        robot.wait(lambda: camera.send(0, counts=(7400 + grey).astype(np.uint16)) or views(node), "a key frame")
        assert np.ptp(views(node)[0].image) > 200 and "of 256 grey levels; in all images 7" in node.log
        robot.wait(
            lambda: camera.send(2, counts=(7400 + 4 * grey).astype(np.uint16)) or "1 key frames of other" in node.log,
            "a larger range",
        )
    with node_of("given", value_range="[7400, 7655]") as node:
        robot.wait(lambda: given.send(0, counts=(7400 + grey).astype(np.uint16)) or views(node), "a key frame")
        np.testing.assert_array_equal(views(node)[0].image[..., 0], grey.astype(np.uint16))


def test_one_stamp_of_the_future_drops_that_picture_and_nothing_else(robot, sender):
    ahead = [0]
    camera = sender("leaps", clock=lambda now: now + ahead[0])
    with node_of("leaps") as node:
        robot.wait(lambda: [camera.send(k) for k in (0, 2)] and len(views(node)) == 2, "key frames")
        before = [view.stamp for view in views(node)]
        ahead[0] = 100 * SECOND
        camera.send(4)
        ahead[0] = 0
        robot.wait(lambda: camera.send(4) or len(views(node)) == 3, "another key frame")
        assert [view.stamp for view in views(node)[:2]] == before and "jumped" not in node.log
