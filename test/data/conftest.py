# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Made-up posed sequences: no files of others are needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from builders.datasets import make_views

from gld_ros.data.sequence import write_folder
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


@pytest.fixture
def views() -> list[SourceView]:
    return make_views()


@pytest.fixture
def folder(tmp_path, views):
    """A sequence folder of `views`."""
    return write_folder(tmp_path / "sequence", views)
