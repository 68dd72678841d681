# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How well relative camera poses are estimated: the pairwise scores of the field (RRA, RTA, AUC, mAA)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from gld_ros.errors import InvalidRequest


@dataclass(frozen=True)
class PairErrors:
    """Errors in degrees of every pair of views (P,), in the order (0, 1), (0, 2), ..., (1, 2), ...

    rotation: angle between the true and the estimated relative rotation. translation: angle between the directions of
    the baselines, 180 where one of them is shorter than 1e-10 and so has none.
    """

    rotation: np.ndarray
    translation: np.ndarray

    @property
    def worst(self) -> np.ndarray:
        """(P,) the larger of both errors."""
        return np.maximum(self.rotation, self.translation)


def pair_errors(estimated: np.ndarray, true: np.ndarray, frame: str = "camera") -> PairErrors:
    """Errors of estimated against true c2w (V, 4, 4), whatever the scale of either.

    frame: "camera" compares poses of one view in the other's axes, so that both sets may have worlds of their own.
    "world" compares the motions in world axes, as the released GLD evaluation does: only right where both have the
    same world orientation. Raises InvalidRequest for fewer than two views or sets of unlike length.
    """
    estimated, true = np.asarray(estimated, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if estimated.shape != true.shape or estimated.shape[1:] != (4, 4) or len(true) < 2:
        raise InvalidRequest(
            f"poses: {estimated.shape} estimated and {true.shape} true, expected (V, 4, 4) of each with V >= 2"
        )
    first, second = np.array(list(combinations(range(len(true)), 2))).T
    (rotation, baseline), (true_rotation, true_baseline) = (
        _relative(poses[first], poses[second], frame) for poses in (estimated, true)
    )
    trace = (rotation * true_rotation).sum(axis=(1, 2))
    lengths = np.linalg.norm(baseline, axis=1), np.linalg.norm(true_baseline, axis=1)
    known = np.minimum(*lengths) >= 1e-10
    cosine = np.full(len(first), -1.0)
    cosine[known] = (baseline * true_baseline).sum(axis=1)[known] / (lengths[0] * lengths[1])[known]
    return PairErrors(_degrees((trace - 1) / 2), _degrees(cosine))


def accuracy(errors: np.ndarray, threshold: float) -> float:
    """Share of errors (P,) below the threshold, 0..1: RRA of rotation, RTA of translation errors."""
    return float(np.mean(errors < threshold))


def auc(errors: np.ndarray, threshold: float, bins: int = 1000) -> float:
    """Area under the accuracy from 0 to the threshold (degrees), divided by the threshold: 0..1, trapezoids."""
    curve = np.array([accuracy(errors, t) for t in np.linspace(0, threshold, bins + 1)])
    return float((curve[1:] + curve[:-1]).mean() / 2)


def maa(errors: np.ndarray, threshold: int = 30) -> float:
    """Mean accuracy at 1, 2, ... `threshold` degrees, 0..1."""
    return float(np.mean([accuracy(errors, t) for t in range(1, threshold + 1)]))


def _relative(first: np.ndarray, second: np.ndarray, frame: str) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (P, 3, 3) and baseline (P, 3) between c2w (P, 4, 4) in the named axes."""
    rotation, other = first[:, :3, :3], second[:, :3, :3]
    baseline = second[:, :3, 3] - first[:, :3, 3]
    if frame == "camera":
        back = rotation.transpose(0, 2, 1)
        return back @ other, (back @ baseline[..., None])[..., 0]
    if frame == "world":
        return rotation @ other.transpose(0, 2, 1), baseline
    raise ValueError(f'frame {frame!r}: "camera" or "world" is expected')


def _degrees(cosine: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
