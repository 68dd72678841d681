# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""CPU time and memory of another process, and whether its memory grows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

import numpy as np

from gld_ros.errors import InvalidRequest


class Slope(TypedDict):
    """Of a line, with its 95 % interval."""

    mean: float
    low: float
    high: float


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far (Linux, in steps of 10 ms)."""
    # The name in brackets may hold anything; what follows the last bracket is numbers.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def robust_slope(x: np.ndarray, y: np.ndarray) -> Slope:
    """Theil-Sen: the median of the slopes between all pairs of points (N,), with Sen's interval from Kendall's tau.

    Single outliers do not move it. Raises InvalidRequest below 3 different x.
    """
    if len(np.unique(x)) < 3:
        raise InvalidRequest(f"{len(np.unique(x))} different points: at least 3 are needed for a slope")
    i, j = np.triu_indices(len(x), k=1)
    apart = x[i] != x[j]
    slopes = np.sort((y[j] - y[i])[apart] / (x[j] - x[i])[apart])
    n = len(x)
    reach = 1.96 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low, high = (len(slopes) - reach) / 2, (len(slopes) + reach) / 2
    return {
        "mean": float(np.median(slopes)),
        "low": float(slopes[max(int(low), 0)]),
        "high": float(slopes[min(int(np.ceil(high)), len(slopes) - 1)]),
    }
