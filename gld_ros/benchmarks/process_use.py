# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""CPU time and memory of a process, and whether its memory grows."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TypedDict

import numpy as np

from gld_ros.errors import InvalidRequest

BLOCKS = 12  # that a series is cut into
#: 97.5 % of Student's t of 1 to BLOCKS - 1 degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201)


class Slope(TypedDict):
    """Drift of a series, with its 95 % interval."""

    mean: float
    low: float
    high: float


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far (Linux, in steps of 10 ms)."""
    # The name in brackets may hold anything; what follows the last bracket is numbers.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2 (malloc.h)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def heap_bytes() -> int | None:
    """What this process got from malloc and has not given back: exact, where resident memory has free pages in it, too.

    Python's own objects count only with PYTHONMALLOC=malloc. None where malloc does not tell (glibc before 2.33).
    """
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (AttributeError, TypeError):
        return None
    ask.restype = _Mallinfo
    found = ask()
    return int(found.uordblks + found.hblkhd)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return _pages(pid)[1] * os.sysconf("SC_PAGE_SIZE")


def private_bytes(pid: int) -> int:
    """Resident memory of a process without files and shared memory. DDS's shared memory holds what others sent; its
    pages count for each process that touched them."""
    _, resident, shared, *_ = _pages(pid)
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _pages(pid: int) -> list[int]:
    """Size, resident, shared, and more (proc(5), statm)."""
    return [int(field) for field in Path(f"/proc/{pid}/statm").read_text().split()]


def robust_slope(x: np.ndarray, y: np.ndarray) -> Slope:
    """How fast a series (N,) drifts, with an interval for values that depend on those before, as a process's memory.

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
    reach = STUDENT[blocks - 2] * error
    return {"mean": float(mean), "low": float(mean - reach), "high": float(mean + reach)}
