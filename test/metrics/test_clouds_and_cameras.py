# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy, completeness and Chamfer distance after a similarity; RRA, RTA and AUC of relative poses."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gld_ros.geometry.alignment import Similarity, umeyama
from gld_ros.metrics.geometry import cloud_errors, point_errors, relative_pose_scores, voxel_means

RNG = np.random.default_rng(0)


def test_clouds_are_compared_after_a_similarity():
    real = RNG.uniform(0, 4, size=(3000, 3))
    moved = Similarity(0.2, Rotation.from_rotvec([1, 0.4, -2]).as_matrix(), np.array([5.0, 1, -3])).points(real)
    assert max(cloud_errors(moved, real).values()) < 1e-9
    moved[:600], real[-50:] = np.nan, np.nan  # some that are not made are missed; without a true one is no error
    errors = cloud_errors(moved, real)
    assert errors["accuracy"] < 1e-9 < errors["completeness"]

    # Two planes of 4 x 3, in truth 1 apart, made 1.1 apart: known distances, where neither fit can help.
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0, 4, 41), np.linspace(0, 3, 31)))
    planes = {gap: np.concatenate([np.stack([x, y, z + 0 * x], 1) for z in (0, gap)]) for gap in (1, 1.1)}
    fitted = {spread: umeyama(planes[1.1], planes[1], spread) for spread in (False, True)}
    assert fitted[False].scale < fitted[True].scale < 1
    for spread, similarity in fitted.items():
        expected = point_errors(similarity.points(planes[1.1]), planes[1])
        found = cloud_errors(planes[1.1], planes[1], spread)
        assert found["chamfer"] == pytest.approx(expected["chamfer"]) and 0.03 < found["chamfer"] < 0.06
        assert found["chamfer_percent"] == pytest.approx(100 * found["chamfer"] / np.sqrt(26))
    assert cloud_errors(moved * np.nan, real) is None and cloud_errors(moved * 0, real) is None


def test_a_voxel_has_one_point():
    points = np.array([[0.1, 0.1, 0.1], [0.3, 0.5, 0.1], [-0.1, 0, 0], [1.2, 0, 0]])
    np.testing.assert_allclose(voxel_means(points, 1.0), [[-0.1, 0, 0], [0.2, 0.3, 0.1], [1.2, 0, 0]])


def test_relative_poses_by_hand():
    """Three cameras on a line. The last turns by 10.5 degrees: two of three pairs are right from 11 degrees on."""
    true = np.tile(np.eye(4), (3, 1, 1))
    true[:, 0, 3] = 0, 1, 3
    world = Similarity(0.3, Rotation.from_rotvec([1, 0.2, -0.5]).as_matrix(), np.array([4.0, 5, 6]))
    assert set(relative_pose_scores(world.poses(true), true).values()) == {1.0}
    made = world.poses(true)
    made[2, :3, :3] = made[2, :3, :3] @ Rotation.from_rotvec([0, np.radians(10.5), 0]).as_matrix()
    found = relative_pose_scores(made, true)
    assert found["rra_30"] == found["rta_30"] == 1 and found["auc_30"] == pytest.approx((30 / 3 + 2 / 3 * 20) / 30)

    aside = true.copy()  # 1 lies beside the line: 0 -> 1 and 1 -> 2 have the wrong direction, 0 -> 2 the right one
    aside[1, :3, 3] = 1, 2, 0
    found = relative_pose_scores(aside, true)
    assert found["rra_30"] == 1 and found["rta_30"] == pytest.approx(1 / 3)
    assert found["auc_30"] == pytest.approx(1 / 3)
    backwards = true.copy()
    backwards[:, 0, 3] *= -1  # the published score takes either way along the line
    assert relative_pose_scores(backwards, true)["auc_30"] == 1
    still = true.copy()
    still[:, :3, 3] = 0
    assert relative_pose_scores(still, true)["rta_30"] == 0 and relative_pose_scores(true, still) is None
    assert relative_pose_scores(true[:1], true[:1]) is None
