# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pairwise pose scores of the released GLD evaluation (RRA, RTA, AUC, mAA)."""

from __future__ import annotations

from itertools import combinations

import numpy as np


def pair_errors(estimated: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Errors in degrees of c2w (V, 4, 4) for the pairs of views (P,), (0, 1), (0, 2), ..., whatever the scale.

    The angles between the relative rotations, and between the baselines. The released evaluation compares both in
    world axes, which is right only where both sets have the same world orientation.
    """
    first, second = np.array(list(combinations(range(len(true)), 2))).T
    (rotation, baseline), (true_rotation, true_baseline) = (
        (c2w[first, :3, :3] @ c2w[second, :3, :3].transpose(0, 2, 1), c2w[second, :3, 3] - c2w[first, :3, 3])
        for c2w in (np.float64(estimated), np.float64(true))
    )
    trace = (rotation * true_rotation).sum(axis=(1, 2))
    lengths = np.linalg.norm(baseline, axis=1) * np.linalg.norm(true_baseline, axis=1)
    cosines = (trace - 1) / 2, (baseline * true_baseline).sum(axis=1) / lengths
    turned, apart = (np.degrees(np.arccos(np.clip(cosine, -1, 1))) for cosine in cosines)
    return turned, apart


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
