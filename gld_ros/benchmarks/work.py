# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Peak speed of the device."""

from __future__ import annotations

import time

import torch

from gld_ros.benchmarks.timing import synchronize

#: Sides of the square matrices that are multiplied to find the peak.
SIDES = {"cuda": (2048, 4096, 8192, 16384), "cpu": (512, 1024, 2048)}
SECONDS = 0.5  # of multiplying, a side


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of several square matrix products, as measured now."""
    best = 0.0
    for side in SIDES[device.type]:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        a @ b
        synchronize(device)
        # In batches that grow, so that a GPU is not waited for after each.
        count, began = 1, time.perf_counter()
        while (now := time.perf_counter()) - began < SECONDS:
            for _ in range(count):
                a @ b
            synchronize(device)
            best = max(best, 2 * side**3 * count / (time.perf_counter() - now))
            count *= 2
    return best
