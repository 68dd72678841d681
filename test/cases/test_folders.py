# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of the field cases (`../shared/cases`), by the commands that people type."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders.cases import case, synthesized
from PIL import Image

from gld_ros.cli import main
from gld_ros.data.sequence import Frame, open_sequence, write_folder
from gld_ros.geometry.cameras import HALF_PIXEL, intrinsics
from gld_ros.scene.ply import read_ply


def frames(scene: Path) -> list[Frame]:
    return open_sequence(scene).frames


def shifted(c2w: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.block([[c2w[:3, :3], (c2w[:3, 3] + by)[:, None]], [np.eye(4)[3:]]])


def in_bag(scene: Path, bag: Path) -> list:
    assert main(["data", "to-bag", str(scene), str(bag)]) == 0
    return open_sequence(bag).frames


def test_14_utm_coordinates(tmp_path):
    recording = case(14, "recording")
    utm = np.array([388099.85, 3948999.74, 41.8])
    near = [replace(v, camera=v.camera.moved(shifted(v.camera.c2w, -utm))) for v in map(Frame.view, frames(recording))]
    write_folder(tmp_path / "near", near)
    report = synthesized(recording, tmp_path / "far_out")
    synthesized(tmp_path / "near", tmp_path / "near_out")
    clouds = [read_ply(tmp_path / f"{name}_out/points.ply").xyz for name in ("far", "near")]
    np.testing.assert_allclose(clouds[0] - utm, clouds[1], atol=1e-3)
    assert np.linalg.norm(report["points_origin"] - utm) < 20


def test_15_the_flag_is_fisheye(tmp_path):
    flag, named = (in_bag(case(15, name), tmp_path / name) for name in ("flag", "named"))
    assert len(flag) == 8
    for a, b in zip(flag, named, strict=True):
        np.testing.assert_array_equal(a.camera.K, b.camera.K)
        np.testing.assert_array_equal(a.read_image(), b.read_image())


def test_16_rational_distortion(tmp_path):
    scene = case(16)
    frame = in_bag(scene, tmp_path / "bag")[0]
    entry = json.loads((scene / "transforms.json").read_text())["frames"][0]
    K = intrinsics(*(entry[key] for key in ("fl_x", "fl_y", "cx", "cy"))) - HALF_PIXEL
    D, size = np.array([0.5, 0.1, 0, 0, 0.02, 0.8, 0.2, 0.05]), (entry["w"], entry["h"])
    new, _ = cv2.getOptimalNewCameraMatrix(K, D, size, alpha=0)
    maps = cv2.initUndistortRectifyMap(K, D, np.eye(3), new, size, cv2.CV_32FC1)
    stored = np.array(Image.open(scene / entry["file_path"]))
    np.testing.assert_allclose(frame.camera.K, new + HALF_PIXEL)
    np.testing.assert_array_equal(frame.read_image(), cv2.remap(stored, *maps, cv2.INTER_LINEAR))


def test_17_paths_of_windows(tmp_path):
    scene = case(17)
    for k, frame in enumerate(in_bag(scene, tmp_path / "bag")):
        np.testing.assert_array_equal(frame.read_image(), np.array(Image.open(scene / f"images/{k:03d}.jpg")))


def test_18_depth_smaller_than_the_picture(tmp_path):
    report = synthesized(case(18), tmp_path / "out")
    assert report["scale"]["method"] == "depth" and report["views"][0]["depth_abs_rel"] < 0.1
    assert in_bag(case(18), tmp_path / "bag")[0].read_depth().shape == (96, 128)


def test_19_exif_orientation(tmp_path):
    assert synthesized(case(19), tmp_path / "out")["views"][0]["psnr_db"] > 25


def test_20_masks_of_people(tmp_path, caplog):
    report = synthesized(case(20), tmp_path / "out")
    assert report["views"][0]["psnr_db"] > 27
    view, generated = (np.array(Image.open(tmp_path / f"out/view_00{end}.png")) for end in ("", "_generated"))
    red = (view[..., 0] > 150) & (view[..., 1:] < 90).all(axis=-1)
    assert not (red & (generated == 0)).any()
    in_bag(case(20), tmp_path / "bag")
    assert "8 of 8 images have masks; image messages have none" in caplog.text


@pytest.mark.parametrize("stamp", (None, 1403636579763555, -1.0))
def test_21_stamps_in_nanoseconds(tmp_path, capsys, stamp):
    content = json.loads((case(21) / "transforms.json").read_text())
    for entry in content["frames"]:
        entry["file_path"] = str(case(21) / entry["file_path"])
        entry["timestamp"] = entry["timestamp"] if stamp is None else stamp
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    assert main(["data", "to-bag", str(tmp_path), str(tmp_path / "bag")]) == 1
    error = capsys.readouterr().err
    assert "frame 0: timestamp is" in error and "seconds from 0 up to 2^31 are expected" in error
    assert str(content["frames"][0]["timestamp"]) in error and error.count("\n") == 1
    assert not (tmp_path / "bag").exists()


def test_22_a_colmap_model(tmp_path):
    report = synthesized(case(22), tmp_path / "out")
    assert report["unit"] == "units" and report["views"][0]["psnr_db"] > 28
    assert main(["data", "check", f"colmap:{case(22)}"]) == 0
