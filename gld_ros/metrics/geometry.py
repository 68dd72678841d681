# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of depth, points and poses."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from gld_ros.geometry.alignment import umeyama
from gld_ros.geometry.se3 import invert, rotation_angle

#: Fits before depths are compared: nothing (metric depth), the ratio of the medians, or scale and shift
#: by least squares.
ALIGNMENTS = ("none", "median", "scale_shift")


def known_pixels(depth: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(H, W) bool: where the predicted depth is finite and the real one finite and above 0."""
    return np.isfinite(depth) & np.isfinite(real) & (real > 0)


def align_depth(depth: np.ndarray, real: np.ndarray, alignment: str) -> np.ndarray:
    """`depth` (H, W) brought to `real` (H, W) by one of ALIGNMENTS, fitted over all pixels where both are known."""
    if alignment not in ALIGNMENTS:
        raise ValueError(f"alignment {alignment!r}: one of {ALIGNMENTS} is expected")
    known = known_pixels(depth, real)
    if alignment == "none" or not known.any():
        return depth
    x, y = depth[known].astype(np.float64), real[known].astype(np.float64)
    if alignment == "median":
        return depth * (np.median(y) / np.median(x))
    scale, shift = np.linalg.lstsq(np.stack([x, np.ones_like(x)], axis=1), y, rcond=None)[0]
    return scale * depth + shift


def depth_errors(depth: np.ndarray, real: np.ndarray, where: np.ndarray | None = None) -> dict[str, float] | None:
    """abs_rel (mean |d - r| / r), delta1 (share within a factor of 1.25) and rmse (unit of `real`) of (H, W) maps.

    Over the known pixels in `where` (H, W) bool; None without such pixels. Align first (`align_depth`).
    """
    known = known_pixels(depth, real)
    if where is not None:
        known &= where
    if not known.any():
        return None
    d, r = depth[known].astype(np.float64), real[known].astype(np.float64)
    return {
        "abs_rel": float(np.mean(np.abs(d - r) / r)),
        "delta1": float(np.mean((d > r / 1.25) & (d < r * 1.25))),
        "rmse": float(np.sqrt(np.mean((d - r) ** 2))),
    }


def point_errors(points: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Mean distances between point sets (N, 3) and (M, 3), in their unit.

    accuracy: from each predicted point to the nearest real one; completeness: the other way round; chamfer: the mean
    of both. Raises ValueError for an empty set.
    """
    if not len(points) or not len(real):
        raise ValueError(f"{len(points)} predicted and {len(real)} real points: at least one of each is needed")
    accuracy, completeness = (cKDTree(b).query(a)[0].mean() for a, b in ((points, real), (real, points)))
    return {
        "accuracy": float(accuracy),
        "completeness": float(completeness),
        "chamfer": float((accuracy + completeness) / 2),
    }


#: Poses below which a similarity (7 unknowns) fits nearly anything.
MIN_POSES = 3


def trajectory_errors(estimated: np.ndarray, true: np.ndarray) -> dict[str, float] | None:
    """Root mean squares over c2w (V, 4, 4) in time order, after Sim(3) alignment of the camera centres.

    ate: distance of the centres; rpe_translation, rpe_rotation_deg: of the motions from one view to the next. Lengths
    in the unit of `true`. None for fewer than MIN_POSES views or where all centres of either set coincide.
    """
    if len(true) < MIN_POSES or min(np.ptp(c2w[:, :3, 3], axis=0).max() for c2w in (estimated, true)) < 1e-9:
        return None
    aligned = umeyama(estimated[:, :3, 3], true[:, :3, 3]).poses(estimated)
    offsets = np.linalg.norm(aligned[:, :3, 3] - true[:, :3, 3], axis=1)
    motions = [invert(c2w[:-1]) @ c2w[1:] for c2w in (aligned, true)]
    left = invert(motions[1]) @ motions[0]
    turns = np.degrees([rotation_angle(np.eye(4), pose) for pose in left])
    return {
        "ate": rms(offsets),
        "rpe_translation": rms(np.linalg.norm(left[:, :3, 3], axis=1)),
        "rpe_rotation_deg": rms(turns),
    }


def rms(values: np.ndarray) -> float:
    """Root mean square of (N,)."""
    return float(np.sqrt(np.mean(np.square(values))))
