"""Whether a model knows where it is wrong: sparsification, calibration, coverage by samples."""

from __future__ import annotations

import numpy as np


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
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    gap = np.bincount(index, confidence - right, minlength=bins)
    return float(np.abs(gap[count > 0]).sum() / len(confidence))


def coverage(samples: np.ndarray, truth: np.ndarray) -> float:
    """Share of `truth` (N,) between the least and the largest of K samples (K, N).

    Samples of the true distribution reach `expected_coverage(K)`; less: the model is too sure of itself.
    """
    return float(np.mean((samples.min(axis=0) <= truth) & (truth <= samples.max(axis=0))))


def expected_coverage(samples: int) -> float:
    """Probability that one more draw lies within the range of `samples` draws: (K - 1) / (K + 1)."""
    return (samples - 1) / (samples + 1)
