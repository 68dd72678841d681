# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of the field cases (`../shared/cases`), by the commands that people type."""

from __future__ import annotations

import json

import numpy as np
import pytest
from builders.cases import case, synthesized
from PIL import Image

from gld_ros.cli import main
from gld_ros.data.sequence import open_sequence


@pytest.fixture
def checked(capsys):
    """(path) -> exit code of `gld data check`, and what it says."""

    def check(path) -> tuple[int, str]:
        code = main(["data", "check", f"rosbag2:{path}"])
        return code, capsys.readouterr().out

    return check


def folder_of(bag, out, *options) -> dict:
    """The folder that `gld data from-bag` writes."""
    assert main(["data", "from-bag", str(bag), str(out), *options]) == 0
    return json.loads((out / "transforms.json").read_text())


def picture(folder, number: int = 0) -> np.ndarray:
    return np.array(Image.open(folder / f"images/{number:03d}.png")).astype(int)


def test_01_recording_without_metadata(tmp_path, checked):
    bag = case(1, "recording")
    for path in (bag, bag / "no_metadata.mcap"):
        assert checked(path)[0] == 0 and len(folder_of(path, tmp_path / path.name)["frames"]) == 8
    assert synthesized(bag, tmp_path / "out")["views"][0]["psnr_db"] > 28


def test_02_unfinished_mcap(checked, caplog):
    code, said = checked(case(2, "recording"))
    assert code == 0 and "7 frames of 128x96" in said
    assert "the recording was not finished" in caplog.text and "mcap recover" in caplog.text


def test_03_some_type_definitions_missing(checked):
    code, said = checked(case(3, "recording"))
    assert code == 0 and "8 frames of 128x96" in said


def test_04_fisheye_with_five_coefficients(checked):
    code, said = checked(case(4, "recording"))
    assert code == 0 and "8 frames of 128x96" in said


def test_05_padded_rows(tmp_path):
    folder_of(case(5, "recording"), tmp_path / "folder", "--translation", "0.01")
    np.testing.assert_array_equal(picture(tmp_path / "folder"), np.array(Image.open(case(5, "true_000.png"))))
    assert synthesized(case(5, "recording"), tmp_path / "out", "0,4", 2)["views"][0]["psnr_db"] > 30


def test_06_binning(tmp_path, checked):
    code, said = checked(case(6, "recording"))
    assert code == 0 and "8 frames of 128x96" in said
    assert synthesized(case(6, "recording"), tmp_path / "out")["views"][0]["psnr_db"] > 28


def test_07_focal_length_changes(tmp_path):
    written = folder_of(case(7, "recording"), tmp_path / "folder")
    fx = [frame.get("fl_x", written.get("fl_x")) for frame in written["frames"]]
    np.testing.assert_allclose(fx, fx[0] * np.array([1.0] * 4 + [1.5] * 4))
    assert synthesized(case(7, "recording"), tmp_path / "out")["views"][0]["psnr_db"] > 25


def test_08_frame_with_two_parents(tmp_path, checked, capsys):
    code, said = checked(case(8, "recording"))
    assert code == 1 and "2 parents of the frame 'base_link': 'map', 'odom_vo'" in said
    assert main(["data", "from-bag", str(case(8, "recording")), str(tmp_path / "folder")]) == 1
    assert "'odom_vo'" in capsys.readouterr().err and not (tmp_path / "folder").exists()


def test_09_stereo_pair_in_one_frame(tmp_path):
    frames = open_sequence(case(9, "recording")).frames
    for left, right in zip(frames[::2], frames[1::2], strict=True):
        assert (left.camera_name, right.camera_name) == ("left", "right") and left.stamp == right.stamp
        np.testing.assert_allclose((left.camera.w2c @ right.camera.c2w)[:3, 3], (0.537, 0, 0), atol=1e-3)
    report = synthesized(case(9, "recording"), tmp_path / "out", "0,1", 2)
    assert report["unit"] == "m" and report["scale"]["method"] != "unknown"


def test_10_grey_called_8uc1(checked):
    code, said = checked(case(10, "recording"))
    assert code == 0 and "8 frames of 128x96" in said


def test_11_raw_counts_in_mono16(tmp_path, caplog):
    folder_of(case(11, "recording"), tmp_path / "folder")
    assert "use 2 of 256 grey levels; in all images 74" in caplog.text
    assert len(np.unique(picture(tmp_path / "folder"))) > 100


def test_12_nv12(tmp_path):
    folder_of(case(12, "recording"), tmp_path / "folder", "--translation", "0.01")
    assert np.abs(picture(tmp_path / "folder") - np.array(Image.open(case(12, "true_000.png")))).mean() < 6


def test_13_camera_clock(checked):
    code, said = checked(case(13, "recording"))
    assert code == 1 and "6.000 to 6.700 s" in said and "1700000001.000 to 1700000001.700 s" in said
    assert "different clocks" in said


def test_26_ros1_bag(tmp_path, checked, capsys):
    """It holds no images; those of one that does are read (test_incomplete_recordings.py)."""
    code, said = checked(case(26, "download"))
    assert code == 1 and "ROS 1 bag" in said
    bag, out = str(case(26, "download") / "drive.bag"), str(tmp_path / "out")
    for command in (
        ["synthesize", bag, "--sources", "0", "--targets", "1", "--out", out],
        ["data", "from-bag", bag, out],
    ):
        assert main(command) == 1 and "ROS 1 bag" in capsys.readouterr().err
