"""Scales and similarity transforms between what a model predicts and what is known."""

from __future__ import annotations

import numpy as np
from torch import Tensor


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


def umeyama(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale s, rotation R (3, 3), translation t (3,) with target ~ s R source + t, least squares (Umeyama 1991).

    source, target: (N, 3), N >= 3 points that are not on one line. Raises ValueError otherwise.
    """
    mean_s, mean_t = source.mean(0), target.mean(0)
    centred_s, centred_t = source - mean_s, target - mean_t
    U, singular, Vt = np.linalg.svd(centred_t.T @ centred_s / len(source))
    if len(source) < 3 or singular[1] < 1e-12 * max(singular[0], 1e-300):
        raise ValueError(f"{len(source)} points on one line or fewer than 3: a similarity needs a plane")
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    rotation = U @ sign @ Vt
    scale = float(np.trace(np.diag(singular) @ sign) / (centred_s**2).sum() * len(source))
    return scale, rotation, mean_t - scale * rotation @ mean_s
