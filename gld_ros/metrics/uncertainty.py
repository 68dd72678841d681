# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measures of uncertainty: intervals of means over scenes, sparsification, calibration, coverage by samples."""

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
    below = others[draws].sum(axis=1)
    ratios = np.divide(values[draws].sum(axis=1), below, out=np.zeros(resamples), where=below != 0) ** power
    low, high = np.percentile(ratios, (50 * (1 - level), 50 * (1 + level)))
    return Estimate(ratio, float(low), float(high), len(values))


def ause(error: np.ndarray, uncertainty: np.ndarray, steps: int = 20) -> float | None:
    """Area under the sparsification error of errors (N,) ranked by `uncertainty` (N,) (Ilg et al. 2018).

    The most uncertain 0, 1/steps, 2/steps, ... of the pixels are left out; the mean error of the rest, in units of the
    mean of all, is compared with that of leaving out the largest errors first. 0 = ranked perfectly; equal
    uncertainties keep their order. None without errors.
    """
    if not error.size or error.mean() <= 0:
        return None
    kept = [len(error) - len(error) * k // steps for k in range(steps)]

    def curve(ranking: np.ndarray) -> np.ndarray:
        sums = np.cumsum(error[np.argsort(ranking, kind="stable")])
        return np.array([sums[n - 1] / n for n in kept])

    gap = (curve(uncertainty) - curve(error)) / error.mean()
    return float((gap[1:] + gap[:-1]).mean() / 2)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float | None:
    """Expected calibration error: mean |confidence - share that is right|, over equal bins of `confidence` 0..1.

    confidence: (N,) stated probability of being right; right: (N,) bool. None without pixels.
    """
    if not confidence.size:
        return None
    curve = reliability(confidence, right, bins)
    return sum(row["count"] * abs(row["confidence"] - row["right"]) for row in curve) / len(confidence)


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """The reliability diagram: `count` of pixels, their mean `confidence` and share that is `right`, of every bin that
    holds any. confidence: (N,) 0..1; right: (N,) bool."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    count, stated, true = (np.bincount(index, weights, bins) for weights in (None, confidence, right))
    return [
        {"count": int(count[k]), "confidence": float(stated[k] / count[k]), "right": float(true[k] / count[k])}
        for k in np.flatnonzero(count)
    ]


def share_interval(hit: np.ndarray, where: np.ndarray, group: np.ndarray) -> dict[str, float | None]:
    """Share of `hit` among the pixels in `where`, both (T, N) bool, with a 95 % interval by resampling groups (T,).

    low and high are None for one group, which tells nothing of others, and all are without pixels.
    """
    _, number = np.unique(group, return_inverse=True)
    hits = np.bincount(number, (hit & where).sum(axis=1))
    counts = np.bincount(number, where.sum(axis=1))
    if not counts.sum():
        return {"share": None, "low": None, "high": None}
    found = estimate_ratio(hits, counts)
    return {"share": found.mean, "low": found.low, "high": found.high}


def coverage(samples: np.ndarray, truth: np.ndarray) -> float:
    """Share of `truth` (N,) between the least and the largest of K samples (K, N).

    Samples of the true distribution reach `expected_coverage(K)`; less: the model is too sure of itself.
    """
    return float(np.mean((samples.min(axis=0) <= truth) & (truth <= samples.max(axis=0))))


def expected_coverage(samples: int) -> float:
    """Probability that one more draw lies within the range of `samples` draws: (K - 1) / (K + 1)."""
    return (samples - 1) / (samples + 1)
