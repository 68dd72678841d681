# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the memory of a `gld_node` in another process does while its cameras play."""

from __future__ import annotations

from typing import Any

import numpy as np
import psutil

from gld_ros.benchmarks.process_use import Slope, private_bytes, robust_slope
from gld_ros.ros.client import GLDClient

COLUMNS = ("private_bytes", "heap_bytes", "python_blocks")


class NodeMemory:
    """Samples of process `pid`: its private memory, and what its diagnostics say of heap and Python objects."""

    def __init__(self, pid: int, client: GLDClient) -> None:
        self._pid, self._client = pid, client
        self._samples: list[tuple[int, ...]] = []

    def sample(self, images: int) -> None:
        """To be called now and then; images: published so far. Nothing before the first diagnostics."""
        said = [self._client.values.get(name) for name in COLUMNS[1:]]
        if None not in said:
            self._samples.append((images, private_bytes(self._pid), *(int(value or 0) for value in said)))

    def figures(self) -> dict[str, Any]:
        """Resident bytes at the end, the samples in columns, and their slopes an image over the second half, when the
        context is full; None for too few samples, and of what the node's malloc does not tell."""
        columns = dict(zip(("images", *COLUMNS), zip(*self._samples, strict=True), strict=False))
        return {
            "memory_bytes": psutil.Process(self._pid).memory_info().rss,
            "memory": columns,
            "memory_slopes": {name: self._slope(columns.get(name)) for name in COLUMNS},
        }

    def _slope(self, values: tuple[int, ...] | None) -> Slope | None:
        second = len(self._samples) // 2
        images = [sample[0] for sample in self._samples[second:]]
        if values is None or not any(values) or len(set(images)) < 3:
            return None
        return robust_slope(np.array(images, dtype=np.float64), np.array(values[second:], dtype=np.float64))
