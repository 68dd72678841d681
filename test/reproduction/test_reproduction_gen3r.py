# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld reproduce --only gen3r` as a whole, and both stages of Gen3R by their commands from the folder it leaves."""

import json
from pathlib import Path

import pytest
import torch

from gld_ros.cli import main
from gld_ros.weights.loading import load_networks

CONFIGS = Path(__file__).parents[2] / "config/train"
SMOKE = ["reproduce", "--budget", "smoke", "--only", "gen3r", "--device", "cpu"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gen3r")
    assert main([*SMOKE, "--out", str(folder)]) == 0
    return folder


def test_report(made):
    report = json.loads((made / "report.json").read_text())
    before, after = (report["figures"]["with alignment"][when] for when in ("before", "after"))
    assert sum(after["divergence"]) < sum(before["divergence"])
    assert report["figures"]["with alignment"]["before"] == report["figures"]["without alignment"]["before"]
    assert (made / "curves.png").read_bytes().startswith(b"\x89PNG") and "without alignment" in report["table"]


def test_stages(made, tmp_path):
    """Each stage changes all of its own network, and nothing else; the second starts from the first one's model."""
    start = made / "start"
    for stage, trained in (("adapter", "adapter"), ("dit", "transformer")):
        out = tmp_path / stage / "model"
        changes = [f"--set={change}" for change in (f"start={start}", "steps=2", "batch=1", "fine_tune=true")]
        changes += ["--set=gen3r.camera_dropout=0"]
        config = str(CONFIGS / f"gen3r_tiny_{stage}.yaml")
        assert main(["train", f"gen3r-{stage}", "--config", config, "--run", str(tmp_path / stage), *changes]) == 0
        old, new = (load_networks(folder).state_dict() for folder in (start, out))
        changed = {key for key in old if not torch.equal(old[key], new[key])}
        own = {key for key in old if key.startswith(trained) and "empty" not in key}
        assert changed <= own and len(changed) > 0.9 * len(own), sorted(own - changed)
        start = out


def test_wrong_settings(made, tmp_path, capsys):
    config = str(CONFIGS / "gen3r_tiny_adapter.yaml")
    for change, message in (("views=6", "6 frames, expected 4n + 1"), ("sizes=[[96, 112]]", "multiples of 112")):
        changes = [f"--set={change}", f"--set=start={made / 'start'}"]
        assert main(["train", "gen3r-adapter", "--config", config, "--run", str(tmp_path / "run"), *changes]) == 1
        assert message in capsys.readouterr().err
    assert main([*SMOKE, "--out", str(tmp_path), "--flow-steps", "3"]) == 1
