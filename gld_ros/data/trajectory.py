# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories in files of their own (the TUM format), and poses between those that were measured."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gld_ros.data.tables import columns, nanoseconds, numbers
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.se3 import interpolate_pose, pose_from_quaternion

GAP = 120_000_000  # ns between poses that are interpolated
ROUNDED = 1000  # ns; many files have microseconds
SAME = 1_000_000  # ns to the only pose near by


class Trajectory:
    """Poses of one body at (N,) stamps (ns), as (N, 4, 4) body to world. where: the file, for messages."""

    def __init__(self, stamps: Iterable[int], poses: Iterable[np.ndarray], where: str) -> None:
        known = dict(zip(stamps, poses, strict=True))
        self.stamps, self.where = sorted(known), where
        self.poses = [known[stamp] for stamp in self.stamps]

    def at(self, stamp: int) -> np.ndarray | None:
        """(4, 4) pose, interpolated; None outside the trajectory and in gaps of more than 0.12 s."""
        after = bisect_left(self.stamps, stamp)
        near = min(
            range(max(after - 1, 0), min(after + 1, len(self.stamps))), key=lambda k: abs(self.stamps[k] - stamp)
        )
        away = abs(self.stamps[near] - stamp)
        inside = 0 < after < len(self.stamps) and self.stamps[after] - self.stamps[after - 1] <= GAP
        if away <= (ROUNDED if inside else SAME):
            return self.poses[near]
        if not inside:
            return None
        share = (stamp - self.stamps[after - 1]) / (self.stamps[after] - self.stamps[after - 1])
        return interpolate_pose(self.poses[after - 1], self.poses[after], share)

    def span(self) -> str:
        """Its first and last time, for messages."""
        return f"{self.stamps[0] / 1e9:.3f} to {self.stamps[-1] / 1e9:.3f} s"


def read_tum_trajectory(file: Path, unit: str = "s", option: str | None = None) -> Trajectory:
    """Poses of a file in the TUM format: `time tx ty tz qx qy qz qw` a line, body to world, metres.

    https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats. option: what says the unit, for messages.
    Raises InvalidRequest naming the file and the line.
    """
    rows = columns(file, (8,))
    stamps = [nanoseconds(row[0], unit, f"{file}: entry {number}", option) for number, row in enumerate(rows)]
    poses = np.array([numbers(row[1:], str(file)) for row in rows])
    if not np.isfinite(poses).all():
        raise InvalidRequest(f"{file}: a pose holds NaN")
    return Trajectory(stamps, [pose_from_quaternion(row[:3], row[3:], str(file)) for row in poses], str(file))
