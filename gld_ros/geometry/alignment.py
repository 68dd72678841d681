# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What lies between what a model predicts and what is known: a scale, or a similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation x + translation; rotation (3, 3), translation (3,)."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def points(self, points: np.ndarray) -> np.ndarray:
        """The image of points (..., 3)."""
        return self.scale * points @ self.rotation.T + self.translation

    def poses(self, c2w: np.ndarray) -> np.ndarray:
        """Poses (..., 4, 4) in the new world; they stay rigid."""
        moved = c2w.copy()
        moved[..., :3, :3] = self.rotation @ c2w[..., :3, :3]
        moved[..., :3, 3] = self.points(c2w[..., :3, 3])
        return moved


def umeyama(points: np.ndarray, onto: np.ndarray, same_spread: bool = False) -> Similarity:
    """The similarity that takes points (N, 3) nearest to `onto` (N, 3) in the least-squares sense (Umeyama 1991).

    same_spread: with the scale that makes both as large, as in the evaluation of Gen3R; it is larger under noise. Of
    points on a line, any of the equally good rotations about it. Raises ValueError for sets of unlike length, fewer
    than two points, or points that coincide.
    """
    if points.shape != onto.shape or len(points) < 2:
        raise ValueError(f"points {points.shape} onto {onto.shape}: two sets of one length, 2 or more, are expected")
    middle, goal = points.mean(axis=0), onto.mean(axis=0)
    spread = ((points - middle) ** 2).sum()
    if spread < 1e-20:
        raise ValueError("the points coincide: no similarity takes them apart")
    left, values, right = np.linalg.svd((onto - goal).T @ (points - middle))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left * signs @ right
    scale = float((values * signs).sum() / spread)
    if same_spread:
        scale = float(np.sqrt(((onto - goal) ** 2).sum() / spread))
    return Similarity(scale, rotation, goal - scale * rotation @ middle)


def robust_scale(predicted: Tensor, reference: Tensor) -> tuple[float, float]:
    """The factor that takes positive `predicted` (N,) to `reference` (N,), and the spread of what is left.

    The factor is the median ratio; the spread 1.4826 times the median absolute deviation of its logarithm (a standard
    deviation for normal errors), NaN without data.
    """
    if predicted.numel() == 0:
        return float("nan"), float("nan")
    log = (reference.clamp_min(1e-12).log() - predicted.clamp_min(1e-12).log()).float()
    middle = log.median()
    return float(middle.exp()), float(1.4826 * (log - middle).abs().median())
