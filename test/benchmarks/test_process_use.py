# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""CPU time and memory of a process; memory that goes up and down is no slope, memory that leaks is."""

import mmap
import os
import time

import numpy as np
import psutil
import pytest

from gld_ros.benchmarks.process_use import cpu_seconds, private_bytes, robust_slope
from gld_ros.errors import InvalidRequest


def test_robust_slope():
    x = np.arange(40.0)
    noise = np.random.default_rng(0).normal(0, 1, 40)
    y = 3 * x + noise
    y[5] = 1e6  # an outlier moves nothing
    slope = robust_slope(x, y)
    assert slope["low"] < 3 < slope["high"] and slope["mean"] == pytest.approx(3, abs=0.1)
    flat = robust_slope(x, noise)
    assert flat["low"] < 0 < flat["high"]
    with pytest.raises(InvalidRequest, match="2 different points: at least 3"):
        robust_slope(np.array([1.0, 2.0, 2.0]), np.zeros(3))


def walks(kind, count=200, length=700):
    """(count, length) memory of a process without a leak, bytes."""
    random = np.random.default_rng(1)
    if kind == "pages":  # each step takes or gives back a few
        return 4096.0 * random.integers(-2, 3, (count, length)).cumsum(axis=1)
    if kind == "heaps":  # rarely, and much
        return 1e6 * random.choice([-1, 0, 1], (count, length), p=[0.01, 0.98, 0.01]).cumsum(axis=1)
    return 1e5 * random.normal(size=(count, length))  # about a level


@pytest.mark.parametrize("kind", ["pages", "heaps", "level"])
def test_memory_that_goes_up_and_down_is_no_slope(kind):
    x = np.arange(700.0)
    slopes = [robust_slope(x, walk) for walk in walks(kind)]
    assert np.mean([slope["low"] <= 0 <= slope["high"] for slope in slopes]) > 0.9


def test_a_leak_is_a_slope():
    x = np.arange(700.0)
    slopes = [robust_slope(x, walk + 1000 * x) for walk in walks("pages")]
    assert np.mean([slope["low"] > 0 for slope in slopes]) > 0.9
    assert np.mean([slope["low"] < 1000 < slope["high"] for slope in slopes]) > 0.9
    uneven = np.sort(np.random.default_rng(0).uniform(0, 1, 50)) ** 2
    for points in (x, uneven):  # points need not be evenly spaced
        slope = robust_slope(points, 1000 * points - 1)
        assert slope == pytest.approx({"mean": 1000, "low": 1000, "high": 1000})


def test_shared_memory_is_nobodys_own():
    process = psutil.Process()
    private, resident = private_bytes(os.getpid()), process.memory_info().rss
    assert 0 < private < resident
    with mmap.mmap(-1, 20_000_000) as shared:  # as DDS's
        for _ in range(20):
            shared.write(bytes(1_000_000))
        assert process.memory_info().rss - resident > 19e6
        assert private_bytes(os.getpid()) - private < 5e6


def test_cpu_time_of_a_process():
    before = cpu_seconds(os.getpid())
    while time.process_time() < 0.3 + before:
        sum(range(10000))
    assert 0.2 < cpu_seconds(os.getpid()) - before < 5
