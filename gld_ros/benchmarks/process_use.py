# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""CPU time and memory of a process, and whether its memory grows."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import psutil
from scipy import stats

from gld_ros.errors import InvalidRequest

BLOCKS = 12  # that a series is cut into


class Slope(TypedDict):
    """Drift of a series, with its 95 % interval."""

    mean: float
    low: float
    high: float


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def private_bytes(pid: int) -> int:
    """Resident memory of a process without files and shared memory (Linux). DDS's shared memory holds what others sent;
    its pages count for each process that touched them."""
    memory = psutil.Process(pid).memory_info()
    return int(memory.rss - memory.shared)


def robust_slope(x: np.ndarray, y: np.ndarray) -> Slope:
    """Drift of a series (N,), with an interval for values that depend on those before, as a process's memory does.

    Cut into up to BLOCKS parts, the drift is the mean of their growth, from median to median of a few points at their
    ends, so that single outliers move nothing; its interval is Student's, of parts that grow independently. A walk of
    random steps up and down is then no slope. Methods that take the points as independent (Sen's interval of
    Theil-Sen) call nearly every walk one. x must not fall. Raises InvalidRequest below 3 different x.
    """
    if len(np.unique(x)) < 3:
        raise InvalidRequest(f"{len(np.unique(x))} different points: at least 3 are needed for a slope")
    n = len(x)
    blocks = min(BLOCKS, max(2, n // 9))  # so that medians are of three points or more
    width = max(1, n // blocks // 3)
    starts = np.linspace(0, n - width, blocks + 1).astype(int)
    dx, dy = (np.diff([np.median(values[start : start + width]) for start in starts]) for values in (x, y))
    mean = dy.sum() / dx.sum()
    error = np.sqrt(((dy - mean * dx) ** 2).sum() / (blocks - 1) / blocks) / dx.mean()
    reach = stats.t.ppf(0.975, blocks - 1) * error
    return {"mean": float(mean), "low": float(mean - reach), "high": float(mean + reach)}
