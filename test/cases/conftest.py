# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Made-up posed sequences, the samples of field cases beside those of ../shared/cases."""

from __future__ import annotations

import pytest
from builders.datasets import make_views

from gld_ros.data.sequence import write_folder
from gld_ros.views import SourceView


@pytest.fixture
def views() -> list[SourceView]:
    return make_views()


@pytest.fixture
def folder(tmp_path, views):
    """A sequence folder of `views`."""
    return write_folder(tmp_path / "sequence", views)
