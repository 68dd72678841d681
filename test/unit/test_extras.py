# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that need an extra name it where it is missing."""

import configparser
import sys
from pathlib import Path

import pytest

from gld_ros.cli import main
from gld_ros.cli.options import TRAINING

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    ["train mini", "train level1 --config c.yaml", "reproduce --budget smoke --out {folder}"],
)
def test_training_names_the_libraries_that_are_missing(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert main(command.format(folder=tmp_path).split()) == 1
    assert "training needs tensorboard: pip install 'tensorboard>=2.16,<3'\n" in capsys.readouterr().err


def test_the_versions_are_those_of_setup_cfg():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert set(TRAINING.values()) == set(settings["options.extras_require"]["train"].split())
