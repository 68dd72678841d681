# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals of means, by resampling scenes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """Mean of `count` scenes with its interval; low and high are None for one scene, which tells nothing of others."""

    mean: float
    low: float | None
    high: float | None
    count: int


def estimate(values: np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Mean of one value a scene (N,), with the percentile interval of means of N scenes drawn with replacement.

    Raises ValueError without values.
    """
    values = np.asarray(values, dtype=np.float64)
    if not values.size:
        raise ValueError("no values: at least one is needed for a mean")
    mean = float(values.mean())
    if len(values) == 1:
        return Estimate(mean, None, None, 1)
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (50 * (1 - level), 50 * (1 + level)))
    return Estimate(mean, float(low), float(high), len(values))
