# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that are left out of a sequence, and synthesized views against them (the demo, `gld synthesize`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gld_ros.metrics.geometry import depth_errors
from gld_ros.metrics.image import psnr
from gld_ros.views import SourceView


@dataclass(frozen=True)
class Comparison:
    """One view against reality; None where there is nothing to compare (no depth, no such pixels, another size).

    observed, unobserved: over the pixels seen by some source view, and the others (made up by the model).
    """

    psnr_db: float
    copy_nearest_psnr_db: float | None
    depth_abs_rel: float | None
    psnr_db_observed: float | None
    psnr_db_unobserved: float | None
    depth_abs_rel_observed: float | None
    depth_abs_rel_unobserved: float | None
    generated_share: float


def abs_rel(depth: np.ndarray, real: np.ndarray | None, where: np.ndarray | None = None) -> float | None:
    """Mean |depth - real| / real where both (H, W) maps are known; None without such pixels."""
    errors = None if real is None else depth_errors(depth, real, where)
    return errors["abs_rel"] if errors else None


def compare(
    image: np.ndarray,
    depth: np.ndarray,
    generated: np.ndarray,
    real: SourceView,
    copy: np.ndarray,
) -> Comparison:
    """Figures of a synthesized view (image (H, W, 3), depth and generated (H, W)) of the camera of `real`.

    copy: (H, W, 3) the observed image nearest in pose, the baseline of doing nothing; of another size it is none.
    """
    seen = ~generated
    return Comparison(
        psnr_db=psnr(image, real.image) or 0.0,
        copy_nearest_psnr_db=(psnr(copy, real.image) or 0.0) if copy.shape == real.image.shape else None,
        depth_abs_rel=abs_rel(depth, real.depth),
        psnr_db_observed=psnr(image, real.image, seen),
        psnr_db_unobserved=psnr(image, real.image, generated),
        depth_abs_rel_observed=abs_rel(depth, real.depth, seen),
        depth_abs_rel_unobserved=abs_rel(depth, real.depth, generated),
        generated_share=float(generated.mean()),
    )


SHORT = 8  # instants; below, every second one is left out, else every third


@dataclass(frozen=True)
class HoldOut:
    """Indices of instants (frames of one time). Every target lies between two shown instants.

    shown: published. left_out: not published. targets: those of `left_out` that are asked for.
    """

    shown: list[int]
    left_out: list[int]
    targets: list[int]


def hold_out(count: int, max_targets: int, max_instants: int = 60) -> HoldOut:
    """Choose among `count` instants in time order. A long sequence is thinned evenly to `max_instants` first.

    Raises ValueError below 3 instants: nothing could be bracketed.
    """
    if count < 3:
        raise ValueError(f"{count} instants: at least 3 are needed to leave one out between two others")
    used = [int(index) for index in np.unique(np.linspace(0, count - 1, min(count, max_instants)).round())]
    asked = used[1:-1:2] if len(used) < SHORT else used[1:-1:3]
    picks = np.linspace(0, len(asked) - 1, min(len(asked), max_targets)).round().astype(int)
    shown = [index for index in used if index not in asked]
    left_out = sorted(set(range(count)) - set(shown))
    return HoldOut(shown, left_out, [asked[pick] for pick in np.unique(picks)])
