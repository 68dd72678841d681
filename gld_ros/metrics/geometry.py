# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of depth, points and poses."""

from __future__ import annotations

from itertools import combinations

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


ALIGNED = 10_000  # pairs of points that a cloud is aligned by
CLOUD = 20_000  # points of a cloud that are compared
VOXELS = 1000  # that the diagonal of the true cloud is as long as


def cloud_errors(points: np.ndarray, real: np.ndarray, same_spread: bool = False) -> dict[str, float] | None:
    """`point_errors` after a similarity took `points` (N, 3) to `real` (N, 3), which show the same pixels, NaN unknown.

    As in Gen3R's evaluation, both clouds are thinned to one point a voxel; then to CLOUD at random, not the farthest.
    Made points without a true one are left out, but not the other way round. `_percent`: of the true cloud's diagonal.
    same_spread: see `umeyama`. None where fewer than 3 points are known, or all coincide.
    """
    rng = np.random.default_rng(0)
    there = np.isfinite(real).all(axis=1)
    both = np.flatnonzero(there & np.isfinite(points).all(axis=1))
    diagonal = float(np.linalg.norm(np.ptp(real[there], axis=0))) if len(both) >= 3 else 0.0
    if not diagonal or not np.ptp(points[both], axis=0).any():
        return None
    chosen = rng.choice(both, min(len(both), ALIGNED), replace=False)
    aligned = umeyama(points[chosen], real[chosen], same_spread).points(points[both])
    clouds = [voxel_means(cloud, diagonal / VOXELS) for cloud in (aligned, real[there])]
    errors = point_errors(*(rng.permutation(cloud)[:CLOUD] for cloud in clouds))
    return errors | {f"{name}_percent": 100 * value / diagonal for name, value in errors.items()}


def voxel_means(points: np.ndarray, size: float) -> np.ndarray:
    """Mean of the points (N, 3) of every voxel (edge `size`) that has some, (M, 3)."""
    cells = np.floor(points / size).astype(np.int64)
    _, voxel, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    return np.stack([np.bincount(voxel.ravel(), axis) for axis in points.T], axis=1) / counts[:, None]


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


WITHIN = 30  # degrees, of `relative_pose_scores`


def relative_pose_scores(estimated: np.ndarray, true: np.ndarray) -> dict[str, float] | None:
    """Shares (0..1) over all pairs of c2w (V, 4, 4), whatever the world and the scale of either set.

    rra_30: pairs whose relative rotation is right within WITHIN degrees; rta_30: those whose baseline has the right
    direction, either way along it; auc_30: mean over 1, 2, ... WITHIN degrees of the share where both are, as in
    PoseDiffusion (Wang et al. 2023) and VGGT. Pairs without a true baseline count for rra_30 alone. None for one pose
    or without baselines.
    """
    if len(true) < 2:
        return None
    first, second = np.array(list(combinations(range(len(true)), 2))).T
    made, real = (invert(c2w[first]) @ c2w[second] for c2w in (estimated.astype(np.float64), true.astype(np.float64)))
    turned = ((made * real)[:, :3, :3].sum(axis=(1, 2)) - 1) / 2
    lengths = np.linalg.norm(made[:, :3, 3], axis=1) * np.linalg.norm(real[:, :3, 3], axis=1)
    along = np.abs((made[:, :3, 3] * real[:, :3, 3]).sum(axis=1)) / np.maximum(lengths, 1e-18)
    rotation, direction = (np.degrees(np.arccos(np.clip(cosine, -1, 1))) for cosine in (turned, along))
    apart = np.linalg.norm(real[:, :3, 3], axis=1) > 1e-9
    if not apart.any():
        return None
    worse = np.maximum(rotation, direction)[apart]
    return {
        "rra_30": float(np.mean(rotation < WITHIN)),
        "rta_30": float(np.mean(direction[apart] < WITHIN)),
        "auc_30": float(np.mean([np.mean(worse < limit) for limit in range(1, WITHIN + 1)])),
    }


def rms(values: np.ndarray) -> float:
    """Root mean square of (N,)."""
    return float(np.sqrt(np.mean(np.square(values))))
