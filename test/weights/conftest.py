# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of small models in the official layout."""

import shutil
from pathlib import Path

import pytest
from builders.official_folder import write_official_folder


@pytest.fixture(scope="session")
def originals(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    for kind in ("da3", "vggt"):
        write_official_folder(folder / kind, kind)
    return folder


@pytest.fixture
def da3(originals, tmp_path) -> Path:
    return Path(shutil.copytree(originals / "da3", tmp_path / "da3"))


@pytest.fixture
def vggt(originals, tmp_path) -> Path:
    return Path(shutil.copytree(originals / "vggt", tmp_path / "vggt"))
