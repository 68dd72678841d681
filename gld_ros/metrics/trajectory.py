# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of a sequence of estimated camera poses after alignment to the true ones (ATE, RPE)."""

from __future__ import annotations

import numpy as np

from gld_ros.geometry.alignment import umeyama
from gld_ros.geometry.se3 import invert, rotation_angle

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
