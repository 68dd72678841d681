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

load = GLDPipeline.from_pretrained


@cache
def mini() -> GLDPipeline:
    return load("mini")


def load_once(name, *options, **more) -> GLDPipeline:
    """In the place of `from_pretrained`: mini as it is by default is loaded once."""
    if name != "mini" or any(value is not None for value in (*options, *more.values())):
        return load(name, *options, **more)
    mini().forget()
    return mini()


@pytest.fixture(scope="module", autouse=True)
def one_model():
    """Commands in this process share mini."""
    patch = pytest.MonkeyPatch()
    patch.setattr(GLDPipeline, "from_pretrained", load_once)
    yield
    patch.undo()


@pytest.fixture
def views() -> list[SourceView]:
    return make_views()


@pytest.fixture
def folder(tmp_path, views):
    """A sequence folder of `views`."""
    return write_folder(tmp_path / "sequence", views)
