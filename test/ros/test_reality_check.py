# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The drift monitor over DDS: views of a room, and then another room where it was."""

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import NodeThread, Robot

from gld_ros.data.rooms import random_room
from gld_ros.msg import RealityCheck
from gld_ros.ros import conversions
from gld_ros.srv import SynthesizeViews

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def turned(camera, yaw):
    """The camera after a turn to its right, radians."""
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    return camera.moved(camera.c2w @ turn)


class Explorer(Robot):
    """Cameras 0 to 5 look ahead, 6 to 8 aside in the same room, 9 to 11 from the same places in another room."""

    def __init__(self):
        super().__init__()
        self.checks = []
        self.node.create_subscription(RealityCheck, "gld_node/reality_check", self.checks.append, LATCHED)
        aside = [turned(self.cameras[k], 0.6) for k in (0, 2, 4)]
        for room in (random_room(3), random_room(17)):  # of the other one most surfaces are twice as near
            pictures, depths = room.render(aside)
            self.cameras = [*self.cameras, *aside]
            self.pictures, self.depths = [*self.pictures, *pictures], [*self.depths, *depths]

    def view(self, camera, **fields):
        """Arrays of the synthesized view of `camera`: confidence (H, W), generated (H, W), and its message."""
        pose = conversions.pose_to_msg(camera.c2w, conversions.Header(frame_id="map"))
        answer = self.ask(pose, **fields)
        assert answer.error_code == SynthesizeViews.Response.NONE, answer.error_message
        (msg,) = answer.views
        size = (msg.image.height, msg.image.width)
        confidence = np.frombuffer(msg.confidence.data, np.float32).reshape(size)
        return confidence, np.frombuffer(msg.generated.data, np.uint8).reshape(size) > 0, msg

    def trust(self):
        return float(self.diagnostics()["node"]["trust"])


@pytest.fixture(scope="module")
def robot():
    robot = Explorer()
    yield robot
    robot.close()


@pytest.fixture
def node(robot):
    with NodeThread() as process:
        robot.fill_context(0, 2, 4)
        robot.checks.clear()
        yield process


def look_aside(robot, *indices):
    """A view aside of what the context shows, of which part is generated; then its place is observed."""
    *_, generated, before = robot.view(robot.cameras[6])
    assert generated.mean() > 0.1 and not robot.checks
    robot.fill_context(*indices)
    *_, after = robot.view(robot.cameras[7])
    return before, after, robot.wait(lambda: robot.checks, "a check")[0]


def test_what_is_seen_later_is_checked(robot, node):
    before, after, check = look_aside(robot, 6, 7, 8)
    assert check.oldest == check.newest == max(before.source_stamps, key=conversions.stamp_to_ns)
    assert check.header.stamp in after.source_stamps
    assert check.header.frame_id == "map"
    judged = check.right + check.ghosts + check.missed
    assert judged > 10
    assert check.ghost_share == pytest.approx(check.ghosts / judged, abs=1e-6)
    assert check.missed_share == pytest.approx(check.missed / judged, abs=1e-6)
    assert 0 <= check.error < 1 and 0 <= check.trust <= 1
    for of in ("age", "distance"):
        limits, counts, errors = (getattr(check, f"{of}_{name}") for name in ("limits", "counts", "errors"))
        assert len(limits) == len(counts) == len(errors) and sum(counts) == judged
        assert list(limits) == sorted(limits) and limits[-1] == np.inf
        assert (np.isnan(errors) == (np.array(counts) == 0)).all()
    assert robot.trust() == pytest.approx(robot.checks[-1].trust, abs=1e-3)


def test_where_the_world_is_another_confidence_in_what_is_generated_falls(robot, node):
    *_, check = look_aside(robot, 9, 10, 11)
    assert check.right < check.ghosts + check.missed and check.error > 0.1
    robot.wait(lambda: robot.checks[-1].trust < 0.9, "the check by another source")
    aside = turned(robot.cameras[1], -0.6)
    assert robot.set_parameter("reality_check", False) == ""
    plain, generated, _ = robot.view(aside, seed=3)
    assert robot.set_parameter("reality_check", True) == ""
    lowered, again, _ = robot.view(aside, seed=3)
    assert (generated == again).all() and generated.any() and not generated.all()
    np.testing.assert_allclose(lowered[generated], plain[generated] * robot.trust(), rtol=2e-3)
    np.testing.assert_array_equal(lowered[~generated], plain[~generated])


def test_with_a_map_key_frames_are_enough(robot):
    """Their depth is found for the map, and judges without another request."""
    with NodeThread(map_enabled=True, map_rate=5.0):
        robot.fill_context(0, 2, 4)
        robot.checks.clear()
        robot.view(robot.cameras[6])
        robot.fill_context(6, 7)
        robot.wait(lambda: robot.checks, "a check")
