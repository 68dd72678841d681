# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Made-up posed sequences: no files of others are needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gld_ros.data.sequence import write_folder
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import look_at
from gld_ros.views import SourceView

SHARED = Path(os.environ.get("GLD_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


@pytest.fixture
def real_data():
    """(name) -> path below the folder of real sequences; skips where it is not on this machine."""

    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"{SHARED / name} is not on this machine; set GLD_TEST_DATA to the folder of real sequences")
        return SHARED / name

    return find


def make_views(count: int = 4, width: int = 24, height: int = 18, stamp: int = 5_000_000_000) -> list[SourceView]:
    """Views of noise with known poses and depth in whole millimetres, NaN in a corner; 0.1 s apart."""
    rng = np.random.default_rng(7)
    K = np.array([[20.0, 0, 11.3], [0, 21.0, 9.4], [0, 0, 1]])
    views = []
    for index in range(count):
        c2w = look_at(np.array([0.1 * index, 0.02 * index, 1.0]), np.array([3.0, 0.2, 0.8 - 0.1 * index]))
        depth = (rng.integers(500, 5000, (height, width)) / 1000).astype(np.float32)
        depth[:3, :3] = np.nan
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        views.append(SourceView(image, Camera(K, c2w, width, height), stamp + index * 100_000_000, depth))
    return views


@pytest.fixture
def views() -> list[SourceView]:
    return make_views()


@pytest.fixture
def folder(tmp_path, views):
    """A sequence folder of `views`."""
    return write_folder(tmp_path / "sequence", views)
