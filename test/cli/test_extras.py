# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that need an extra name it where it is missing."""

import configparser
import sys
from pathlib import Path

import pytest

from gld_ros.cli import main
from gld_ros.errors import InvalidRequest
from gld_ros.extras import EXTRAS, require

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    ["train mini", "train level1 --config c.yaml", "reproduce --budget smoke --out {folder}"],
)
def test_training_names_the_libraries_that_are_missing(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert main(command.format(folder=tmp_path).split()) == 1
    message = capsys.readouterr().err
    assert "training needs the extra 'train' (" in message
    assert message.endswith("): pip install 'accelerate>=1.10,<2' 'tensorboard>=2.16,<3'\n")


def test_batch_names_the_library_that_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["batch", "rooms:0-1", "--out", str(tmp_path / "out")]) == 1
    assert "gld batch needs the extra 'batch' (" in capsys.readouterr().err


def test_an_extra_that_is_there_is_no_error(monkeypatch):
    require("plots", "a plot")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidRequest, match="a plot needs the extra 'plots' .*: pip install 'matplotlib>=3.8,<4'"):
        require("plots", "a plot")


def test_the_versions_are_those_of_setup_cfg():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    for extra, requirements in EXTRAS.items():
        assert set(requirements.values()) == set(settings["options.extras_require"][extra].split()), extra
