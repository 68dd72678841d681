# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Made-up posed sequences, the samples of field cases beside those of ../shared/cases."""

from __future__ import annotations

from functools import cache

import pytest
from builders.datasets import make_views

from gld_ros.data.sequence import write_folder
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import SourceView


@pytest.fixture(scope="session", autouse=True)
def one_model():
    """Commands in this process load mini once."""
    load, patch = GLDPipeline.from_pretrained, pytest.MonkeyPatch()
    once = cache(lambda: load("mini"))

    def from_pretrained(name, **options):
        if name != "mini" or any(value is not None for value in options.values()):
            return load(name, **options)
        once().forget()
        return once()

    patch.setattr(GLDPipeline, "from_pretrained", from_pretrained)
    yield
    patch.undo()


@pytest.fixture
def views() -> list[SourceView]:
    return make_views()


@pytest.fixture
def folder(tmp_path, views):
    """A sequence folder of `views`."""
    return write_folder(tmp_path / "sequence", views)
