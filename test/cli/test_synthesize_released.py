# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld synthesize` with a folder of the official layout: recipe weights, so noise, and it says so."""

import json

import numpy as np
import pytest
from builders.official_folder import write_official_folder

from gld_ros.cli import main
from gld_ros.scene.ply import read_ply


@pytest.mark.parametrize("kind", ["da3", "vggt"])
def test_all_stages_run_and_everything_is_written(tmp_path, capsys, kind):
    model, sequence, out = tmp_path / "model", tmp_path / "rooms", tmp_path / "out"
    write_official_folder(model, kind)
    assert main(["data", "rooms", "--out", str(sequence), "--frames", "9"]) == 0
    what = ["synthesize", str(sequence), "--model", str(model), "--sources", "0,8", "--targets", "4"]
    assert main([*what, "--size", "100x84", "--out", str(out)]) == 1
    assert "size 100x84: width and height must be multiples of 14" in capsys.readouterr().err
    assert main([*what, "--size", "112x84", "--steps", "3", "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["model"] == f"gld-{kind}"
    assert report["warnings"] and report["warnings"][0].startswith("the generated views contradict")
    assert "gld: warning: the generated views contradict" in capsys.readouterr().err
    depth = np.load(out / "view_00_depth.npy")
    assert np.isfinite(depth).all() and depth.min() > 0
    assert (out / "view_00.png").is_file() and (out / "sheet.png").is_file()
    points = read_ply(out / "points.ply")
    assert len(points.xyz) > 100
