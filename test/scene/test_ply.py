# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""PLY files and pictures of points."""

from __future__ import annotations

import numpy as np
import pytest

from gld_ros.errors import InvalidRequest
from gld_ros.scene.ply import Points, read_ply, write_ply


@pytest.fixture
def points() -> Points:
    rng = np.random.default_rng(3)
    return Points(
        rng.normal(size=(50, 3)).astype(np.float32),
        rng.integers(0, 256, (50, 3), dtype=np.uint8),
        rng.random(50).astype(np.float32),
        rng.random(50) > 0.5,
    )


def test_round_trip(tmp_path, points):
    write_ply(tmp_path / "cloud.ply", points)
    read = read_ply(tmp_path / "cloud.ply")
    for name in ("xyz", "rgb", "confidence", "generated"):
        np.testing.assert_array_equal(getattr(read, name), getattr(points, name))
    assert b"property float confidence\nproperty uchar generated\nend_header" in (tmp_path / "cloud.ply").read_bytes()


def test_truncated_or_foreign(tmp_path, points):
    file = tmp_path / "cloud.ply"
    write_ply(file, points)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(InvalidRequest, match="truncated"):
        read_ply(file)
    file.write_bytes(b"ply\nformat ascii 1.0\nend_header\n")
    with pytest.raises(InvalidRequest, match="not a binary PLY"):
        read_ply(file)
