# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairwise pose scores on made-up trajectories."""

import numpy as np
import pytest
from pose_scores import accuracy, auc, maa, pair_errors
from scipy.spatial.transform import Rotation

from gld_ros.errors import InvalidRequest


def trajectory(views: int, seed: int) -> np.ndarray:
    c2w = np.tile(np.eye(4), (views, 1, 1))
    c2w[:, :3, :3] = Rotation.random(views, random_state=seed).as_matrix()
    c2w[:, :3, 3] = np.random.default_rng(seed).standard_normal((views, 3))
    return c2w


def test_another_world_and_another_scale_are_no_error():
    true = trajectory(5, 0)
    world = trajectory(1, 1)[0]
    moved = world @ true
    moved[:, :3, 3] *= 7
    errors = pair_errors(moved, true)
    assert errors.worst.shape == (10,)
    assert errors.worst.max() < 1e-5
    assert pair_errors(moved, true, frame="world").rotation.max() > 10
    with pytest.raises(ValueError, match="body"):
        pair_errors(moved, true, frame="body")


def test_a_turned_camera_is_off_by_its_turn():
    true = trajectory(3, 0)
    turned = true.copy()
    turned[2, :3, :3] = turned[2, :3, :3] @ Rotation.from_euler("y", 12, degrees=True).as_matrix()
    errors = pair_errors(turned, true)
    assert np.allclose(errors.rotation, [0, 12, 12], atol=1e-5)
    assert np.allclose(errors.translation, 0, atol=1e-5)  # baselines of (0, 1), (0, 2), (1, 2) in unturned cameras


def test_views_at_one_place_have_no_direction():
    true = trajectory(2, 0)
    still = true.copy()
    still[1, :3, 3] = still[0, :3, 3]
    assert pair_errors(still, true).translation == 180


def test_scores_of_known_errors():
    errors = np.array([0.5, 2.0, 10.0, 40.0])
    assert accuracy(errors, 15) == 0.75
    assert auc(errors, 20, bins=100_000) == pytest.approx((19.5 + 18 + 10) / 4 / 20, abs=1e-4)
    assert auc(np.zeros(3), 5) == pytest.approx(1, abs=1e-3)
    assert maa(errors, 4) == pytest.approx((0.25 + 0.25 + 0.5 + 0.5) / 4)


def test_sets_that_do_not_fit_are_refused():
    for estimated, true in ((trajectory(3, 0), trajectory(2, 0)), (trajectory(1, 0), trajectory(1, 0))):
        with pytest.raises(InvalidRequest, match="V >= 2"):
            pair_errors(estimated, true)
