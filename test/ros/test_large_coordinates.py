# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A map frame in UTM: key frames, views and saved maps keep millimetres; the node says that clouds do not."""

import numpy as np
import pytest
from robot import NodeThread, Robot
from sensor_msgs_py import point_cloud2

from gld_ros.geometry.points import project
from gld_ros.ros import conversions
from gld_ros.scene.ply import read_ply
from gld_ros.srv import SaveMap, SynthesizeViews

UTM = np.array([388099.85, 3948999.74, 41.8])


@pytest.fixture
def far_robot():
    robot = Robot("far_robot")
    shift = np.eye(4)
    shift[:3, 3] = UTM
    robot.cameras = [camera.moved(shift @ camera.c2w) for camera in robot.cameras]
    yield robot
    robot.close()


def off(points, robot):
    """Median relative error of the depth of points (N, 3) in the robot's views 0 and 4."""
    errors = []
    for k in (0, 4):
        (u, v), z = (a.T for a in project(points, robot.cameras[k]))
        inside = (z > 0.3) & (u > 1) & (u < 191) & (v > 1) & (v < 143)
        errors.append(np.abs(z[inside] / robot.depths[k][v[inside].astype(int), u[inside].astype(int)] - 1))
    errors = np.concatenate(errors)
    assert len(errors) > 1000
    return np.median(errors)


def test_a_map_frame_in_utm(far_robot, tmp_path):
    robot = far_robot
    with NodeThread(map_enabled=True, map_rate=5.0, map_folder=tmp_path, map_confirmations=0) as node:
        robot.fill_context(0, 2, 4)
        answer = robot.ask(1)
        assert answer.error_code == SynthesizeViews.Response.NONE, answer.error_message
        pose = conversions.pose_to_matrix(answer.views[0].pose.pose)
        np.testing.assert_allclose(pose, robot.cameras[1].c2w, atol=1e-6)
        depth = np.frombuffer(answer.views[0].depth.data, np.float32).reshape(robot.depths[1].shape)
        seen = np.frombuffer(answer.views[0].generated.data, np.uint8).reshape(depth.shape) == 0
        assert np.median(np.abs(depth / robot.depths[1] - 1)[seen]) < 0.1
        assert "in steps of 250 mm there" in node.log and node.log.count("float32 coordinates") == 1
        cloud = point_cloud2.read_points(answer.points)
        xyz = np.stack([cloud[name] for name in "xyz"], axis=1).astype(float)
        assert (np.abs(xyz - robot.cameras[1].center) < 30).all()
        save = robot.node.create_client(SaveMap, "gld_node/save_map")

        def observed():
            files = robot.call(save, path="yard").files
            points = read_ply(files[1])
            return points.xyz[~points.generated] if (~points.generated).sum() > 3000 else None

        robot.wait(lambda: observed() is not None, "observed points")
        points = observed()
        assert off(points, robot) < 0.1
        assert len(np.unique(points[:, 1])) > len(points) / 4  # no steps of a quarter of a metre
        assert b"\ncomment origin 388" in (tmp_path / "yard.ply").read_bytes()
