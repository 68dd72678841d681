# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories in files of their own, and times as text: the TUM format, and poses between those that were measured."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from gld_ros.data.reading import read_text
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.se3 import interpolate_pose, pose_from_quaternion

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # nanoseconds
LAST_SECOND = 2**31  # of builtin_interfaces/Time
GAP = 120_000_000  # ns between poses that are interpolated


def nanoseconds(value: str | float, unit: str, where: str, option: str) -> int:
    """A time in `unit` as ns, with all its digits. option: what says the unit, for messages.

    Raises InvalidRequest for no number, an unknown unit, and a time that ROS cannot have.
    """
    if unit not in UNITS:
        raise InvalidRequest(f"{where}: {option} is {unit!r}, one of {', '.join(UNITS)} is expected")
    try:
        stamp = round(Decimal(str(value)) * UNITS[unit])
    except (InvalidOperation, ValueError, OverflowError):
        raise InvalidRequest(f"{where}: the time {value!r}; a number is expected") from None
    if not 0 <= stamp < LAST_SECOND * 10**9:
        raise InvalidRequest(
            f"{where}: timestamp is {value} {unit}, seconds from 0 up to 2^31 are expected (ROS has no others); "
            f"{option} says if the numbers are ns, us or ms"
        )
    return int(stamp)


def columns(file: Path, counts: Iterable[int] = (), separator: str | None = None) -> list[list[str]]:
    """The columns of every line that is no comment; as many as one of `counts`, or any number.

    separator: between columns; None for blanks. Raises InvalidRequest for other numbers and an empty file.
    """
    lines = [line for line in read_text(file).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = [[part.strip() for part in line.split(separator)] for line in lines]
    for number, row in enumerate(rows):
        if counts and len(row) not in counts:
            expected = " or ".join(map(str, counts))
            raise InvalidRequest(f"{file}: entry {number} has {len(row)} columns, {expected} are expected")
    if not rows:
        raise InvalidRequest(f"{file}: empty")
    return rows


def numbers(texts: Iterable[str], where: str) -> list[float]:
    """Raises InvalidRequest for what is no number."""
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise InvalidRequest(f"{where}: {error}; a number is expected") from None


class Trajectory:
    """Poses of one body at (N,) stamps (ns), as (N, 4, 4) body to world. where: the file, for messages."""

    def __init__(self, stamps: Iterable[int], poses: Iterable[np.ndarray], where: str) -> None:
        known = dict(zip(stamps, poses, strict=True))
        self.stamps, self.where = sorted(known), where
        self.poses = [known[stamp] for stamp in self.stamps]

    def at(self, stamp: int) -> np.ndarray | None:
        """(4, 4) pose, interpolated; None outside the trajectory and in gaps of more than 0.12 s."""
        after = bisect_left(self.stamps, stamp)
        if after < len(self.stamps) and self.stamps[after] == stamp:
            return self.poses[after]
        if after in (0, len(self.stamps)) or self.stamps[after] - self.stamps[after - 1] > GAP:
            return None
        share = (stamp - self.stamps[after - 1]) / (self.stamps[after] - self.stamps[after - 1])
        return interpolate_pose(self.poses[after - 1], self.poses[after], share)

    def span(self) -> str:
        """Its first and last time, for messages."""
        return f"{self.stamps[0] / 1e9:.3f} to {self.stamps[-1] / 1e9:.3f} s"


def read_tum_trajectory(file: Path, unit: str = "s") -> Trajectory:
    """Poses of a file in the TUM format: `time tx ty tz qx qy qz qw` a line, body to world, metres.

    https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats. Raises InvalidRequest naming the file and the line.
    """
    rows = columns(file, (8,))
    stamps = [nanoseconds(row[0], unit, f"{file}: entry {number}", "stamp_unit") for number, row in enumerate(rows)]
    poses = np.array([numbers(row[1:], str(file)) for row in rows])
    if not np.isfinite(poses).all():
        raise InvalidRequest(f"{file}: a pose holds NaN")
    return Trajectory(stamps, [pose_from_quaternion(row[:3], row[3:], str(file)) for row in poses], str(file))
