"""Scale between what a model predicts and what is known."""

from __future__ import annotations

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
