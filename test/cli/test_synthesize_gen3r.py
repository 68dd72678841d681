# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld synthesize` with a Gen3R of random weights: one source and two, options, what is refused."""

import json
import shutil

import numpy as np
import pytest
from builders.gen3r_folder import TINY, tiny_gen3r_folder

from gld_ros.cli import main
from gld_ros.scene.ply import read_ply


@pytest.fixture(scope="module")
def what(tmp_path_factory):
    """A command for a sequence of seven frames of 64x48 with depth images."""
    folder = tmp_path_factory.mktemp("synthesize")
    assert main(["data", "rooms", "--out", str(folder / "rooms"), "--frames", "7", "--size", "64x48"]) == 0
    model = tiny_gen3r_folder(folder / "model")
    return ["synthesize", str(folder / "rooms"), "--model", str(model), "--targets", "2,4", "--device", "cpu"]


def picture(out):
    return (out / "view_00.png").read_bytes()


@pytest.mark.parametrize("sources", ["0", "0,6"])
def test_views_and_options(what, sources, tmp_path):
    command = [*what, "--sources", sources, "--steps", "1", "--out"]
    options = ["--option", "frames=9", "--option", "prompt=a hall", "--guidance", "2", "--seed", "3"]
    assert main([*command, str(tmp_path / "a")]) == 0
    assert main([*command, str(tmp_path / "b"), *options]) == 0
    report, other = (json.loads((tmp_path / name / "report.json").read_text()) for name in "ab")
    assert (report["model"], report["scale"]["method"], other["seed"]) == (TINY.name, "depth", 3)
    assert any("asked are 9 of 112x112" in warning for warning in other["warnings"])
    assert picture(tmp_path / "a") != picture(tmp_path / "b")
    known = np.isfinite(np.load(tmp_path / "a/view_01_depth.npy"))
    assert known[:, 8:56].all() and not known[:, :8].any()
    assert (tmp_path / "a/sheet.png").is_file() and len(read_ply(tmp_path / "a/points.ply").xyz) > 100


def test_without_anything_that_tells_metres(what, tmp_path, capsys):
    """One source without a depth image gives a clip up to scale, and the report says so."""
    rooms = shutil.copytree(what[1], tmp_path / "rooms")
    transforms = json.loads((rooms / "transforms.json").read_text())
    for frame in transforms["frames"]:
        frame.pop("depth_file_path")
    (rooms / "transforms.json").write_text(json.dumps(transforms))
    command = ["synthesize", str(rooms), *what[2:], "--sources", "0", "--steps", "1", "--out", str(tmp_path / "o")]
    assert main(command) == 0
    assert json.loads((tmp_path / "o/report.json").read_text())["scale"]["method"] == "unknown"
    assert "the lengths of the clip are no metres" in capsys.readouterr().err


def test_refused(what, tmp_path, capsys):
    out = ["--out", str(tmp_path / "o")]
    for arguments, message in (
        (["--sources", "0", "--option", "frames=6"], "a clip of 6 frames, expected 4 n + 1"),
        (["--sources", "0", "--option", "promt=x"], "unknown setting promt"),
        (["--sources", "0,3,6"], "3 source views, expected 1, 2 or, for all frames of the clip, 5"),
        (["--sources", "0", "--model", "mini", "--option", "prompt=x"], "model 'mini' has no option prompt"),
    ):
        assert main([*what, *arguments, *out]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
