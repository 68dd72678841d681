# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The public client: views as arrays, the node's named errors, trajectories, maps, waiting."""

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from robot import NodeThread

from gld_ros.errors import FileError, InvalidRequest, NoContext, NotActive
from gld_ros.geometry.cameras import Camera
from gld_ros.ros.client import ClientError, GLDClient


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="module")
def node(robot, folder):
    with NodeThread(map_enabled=True, map_folder=folder, map_confirmations=0) as running:
        robot.fill_context(0, 2, 4)
        yield running


@pytest.fixture(scope="module")
def client(node):
    with GLDClient() as client:
        client.wait_until_active()
        yield client


def test_a_pose_gives_arrays(robot, client):
    answer = client.synthesize(robot.cameras[1].c2w, seed=3, samples=2)
    (view,) = answer.views
    assert view.image.shape == (144, 192, 3) and view.image.dtype == np.uint8
    assert view.depth.shape == view.confidence.shape == view.generated.shape == (144, 192)
    assert view.generated.dtype == bool and 0 <= view.confidence.min() <= view.confidence.max() <= 1
    np.testing.assert_allclose(view.camera.c2w, robot.cameras[1].c2w, atol=1e-6)
    np.testing.assert_allclose(view.camera.K, robot.cameras[1].K)
    assert (view.message.seed, view.message.samples) == (3, 2) and view.stamp > 0
    assert len(answer.points) == np.isfinite(view.depth).sum() and set(answer.points["generated"]) <= {0, 255}
    assert 0 < answer.latency < answer.seconds and answer.error is None


def test_cameras_and_messages_are_poses_too(robot, client):
    small = robot.cameras[3].resized(96, 72)
    (view,) = client.synthesize(small).views
    assert view.image.shape == (72, 96, 3)
    assert len(client.synthesize(robot.poses(1, 3)).views) == 2


def test_what_the_node_answers_is_raised(robot, client):
    with pytest.raises(InvalidRequest, match="time_budget"):
        client.synthesize(robot.cameras[1], time_budget=-1.0)
    with pytest.raises(NoContext, match="looks at"):
        client.synthesize(away(robot))


def away(robot):
    """A camera with a lens so long that it sees only what is behind the robot."""
    turned = robot.cameras[1].c2w @ np.diag([-1.0, 1, -1, 1])
    return Camera(np.array([[4000.0, 0, 96], [0, 4000, 72], [0, 0, 1]]), turned, 192, 144)


def test_a_trajectory_with_feedback_may_be_cancelled(robot, client):
    answer = client.synthesize_trajectory(robot.cameras[1:4])
    assert len(answer.views) == 3 and answer.feedback[-1].fraction <= 1 and answer.error is None
    fractions = []

    def enough(feedback):
        fractions.append(feedback.fraction)
        return False

    try:
        stopped = client.synthesize_trajectory(robot.cameras[1:4] * 5, on_feedback=enough)
        assert len(stopped.views) < 15 and stopped.error.code == "CANCELLED"
    except Exception as error:
        assert error.code == "CANCELLED"  # before any view was there
    assert fractions


def test_maps_are_saved_and_loaded(robot, client, folder):
    files = client.save_map("kitchen")
    assert sorted(files) == [str(folder / f"kitchen.{ending}") for ending in ("npz", "ply")]
    assert min(client.load_map("kitchen")) >= 0
    with pytest.raises((FileError, InvalidRequest)):
        client.load_map("nowhere")


def test_it_says_what_it_waits_for(robot, client):
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    with pytest.raises(ClientError, match="/gld_node is inactive, not active, after 1 s"):
        client.wait_until_active(1.0)
    with pytest.raises(NotActive):
        client.synthesize(robot.cameras[1])
    client.transition("activate")
    client.wait_until_active()
    with pytest.raises(ClientError, match="service /nobody/synthesize: nothing within 1 s"):
        with GLDClient("/nobody") as nobody:
            nobody.synthesize(robot.cameras[1], timeout=1.0)


def test_an_action_that_stays_unmatched_is_matched_anew(robot, client, monkeypatch):
    monkeypatch.setattr("gld_ros.ros.client.REMATCH", 0.2)
    monkeypatch.setattr(client._paths[-1], "server_is_ready", lambda: False)
    assert len(client.synthesize_trajectory(robot.cameras[1:2]).views) == 1 and len(client._paths) == 2
