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
    return estimate_ratio(values, np.ones(len(values)), level=level, resamples=resamples, seed=seed)


def estimate_ratio(
    values: np.ndarray,
    others: np.ndarray,
    power: float = 1.0,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """(Sum of `values` over sum of `others`) ** power, one of each a scene (N,), with its interval as above.

    A ratio of sums, unlike a mean of ratios, is not thrown off by scenes where the denominator is nearly 0. Raises
    ValueError without values.
    """
    values, others = np.asarray(values, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if not values.size:
        raise ValueError("no values: at least one is needed for a mean")
    ratio = float((values.sum() / others.sum()) ** power)
    if len(values) == 1:
        return Estimate(ratio, None, None, 1)
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    ratios = (values[draws].sum(axis=1) / others[draws].sum(axis=1)) ** power
    low, high = np.percentile(ratios, (50 * (1 - level), 50 * (1 + level)))
    return Estimate(ratio, float(low), float(high), len(values))
