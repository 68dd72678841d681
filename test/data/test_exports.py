# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings, benchmarks and apps' exports: read exactly, and taken by every command."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import exports
from builders.datasets import EXPORTS, HEIGHT, WIDTH, K, rendered, write_export
from builders.exports import IN_BODY, numbers, save, write, write_exr
from PIL import Image

from gld_ros.cli import main
from gld_ros.data.exr import read_exr
from gld_ros.data.scenes import open_scenes
from gld_ros.data.sequence import Sequence, open_sequence, write_folder
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.distortion import undistort

WITH_DEPTH, TIMED = ("7scenes", "scannet", "polycam", "record3d"), ("euroc", "kitti", "polycam", "record3d")


@pytest.fixture(params=EXPORTS)
def recording(request, tmp_path):
    """Kind, path and what commands are told."""
    return request.param, *write_export(request.param, tmp_path)


def check_cameras(sequence: Sequence) -> None:
    assert len(sequence.frames) == len(rendered()) and sequence.metric
    for frame, view in zip(sequence.frames, rendered(), strict=True):
        np.testing.assert_allclose(frame.camera.K, K, atol=1e-9)
        np.testing.assert_allclose(frame.camera.c2w, view.camera.c2w, atol=1e-9)


def test_cameras_depth_and_stamps_come_back_exactly(recording):
    kind, _, told = recording
    sequence = open_sequence(told)
    check_cameras(sequence)
    assert sequence.has_depth == (kind in WITH_DEPTH) and sequence.timed == (kind in TIMED)
    for frame, view in zip(sequence.frames, rendered(), strict=True):
        if kind in TIMED:
            start = rendered()[0].stamp if kind == "kitti" else 0
            assert abs(frame.stamp - (view.stamp - start)) < (500 if kind == "record3d" else 2)
        if frame.read_depth:
            expected = view.depth if kind == "record3d" else np.rint(view.depth * 1000) / np.float32(1000)
            np.testing.assert_allclose(frame.read_depth(), expected, atol=1e-6)


def test_every_command_takes_it(recording, tmp_path, capsys):
    _, _, told = recording
    arguments = ["--sources", "0,5", "--targets", "2", "--steps", "1", "--out", str(tmp_path / "out")]
    assert main(["synthesize", told, *arguments]) == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["views"][0]["psnr_db"] > 25 and report["unit"] == "m"
    assert main(["data", "check", told]) == 0
    assert "1 good scenes, 6 frames of 80x60; skipped 0 scenes" in capsys.readouterr().out
    assert main(["data", "to-bag", told, str(tmp_path / "bag")]) == 0
    check_cameras(open_sequence(tmp_path / "bag"))


def test_scored_by_gld_eval(tmp_path):
    path, _ = write_export("scannet", tmp_path)
    out = tmp_path / "out"
    assert main(["eval", "mini", "--data", f"scannet:{path}", "--scenes", "1", "--steps", "1", "--out", str(out)]) == 0


def test_distorted_cameras_of_euroc(tmp_path):
    """Two cameras, and their lenses; images of noise show where each pixel comes from."""
    path = exports.euroc(tmp_path, rendered())
    shutil.copytree(path / "mav0/cam0", path / "mav0/cam1")
    lenses = {
        "cam0": ("radial-tangential", (-0.28, 0.07, 2e-4, 2e-5), "plumb_bob"),
        "cam1": ("equidistant", (0.003, 7e-4, -0.002, 2e-4), "opencv_fisheye"),
    }
    for name, (words, D, _) in lenses.items():
        write(path / f"mav0/{name}/sensor.yaml", exports.sensor_yaml(IN_BODY, rendered()[0], words, D))
    sequence = open_sequence(path)
    assert sequence.camera_names == ["cam0", "cam1"] and len(sequence.instants()[0]) == 2
    for frame in sequence.frames:
        _, D, model = lenses[frame.camera_name]
        pinhole = undistort(K, D, model, WIDTH, HEIGHT, "here")
        np.testing.assert_allclose(frame.camera.K, pinhole.K)
        stored = np.array(Image.open(frame.name))
        np.testing.assert_array_equal(frame.read_image(), pinhole.apply(stored, "here"))
    assert {frame.camera_name for frame in open_scenes(f"euroc:{path}?camera=cam1").frames(0)} == {"cam1"}


@pytest.mark.parametrize("truth", ("vicon0", "mocap0"))
def test_other_ground_truths_of_the_asl_layout(tmp_path, truth):
    check_cameras(open_sequence(exports.euroc(tmp_path, rendered(), truth)))
    check_cameras(open_sequence(tmp_path / "mav0"))


def test_calibration_of_tum_vi(tmp_path):
    path = exports.euroc(tmp_path, rendered(), "mocap0")
    expected = open_sequence(path).frames[0].camera
    (path / "mav0/cam0/sensor.yaml").unlink()
    camera = {"camera_model": "pinhole", "distortion_model": "equidistant", "resolution": [WIDTH, HEIGHT]}
    camera |= {"intrinsics": exports.lens(rendered()[0]), "distortion_coeffs": [0.003, 7e-4, -0.002, 2e-4]}
    write(path / "dso/camchain.yaml", {"cam0": camera | {"T_cam_imu": np.linalg.inv(IN_BODY).tolist()}})
    found = open_sequence(path).frames[0].camera
    np.testing.assert_allclose(
        found.K, undistort(K, camera["distortion_coeffs"], "opencv_fisheye", WIDTH, HEIGHT, "").K
    )
    np.testing.assert_allclose(found.c2w, expected.c2w, atol=1e-9)


def test_poses_between_those_of_the_ground_truth(tmp_path):
    path = exports.euroc(tmp_path, rendered())
    file = path / "mav0/cam0/data.csv"
    names = [line.split(",")[1] for line in file.read_text().splitlines()[1:]]
    stamps = [view.stamp + 50_000_000 for view in rendered()]
    write(file, ["#", *(f"{stamp},{name}" for stamp, name in zip(stamps, names, strict=True))])
    frames = open_sequence(path).frames
    assert [frame.stamp for frame in frames] == stamps[:-1]  # the last one is after the ground truth
    centres = np.array([view.camera.center for view in rendered()])
    np.testing.assert_allclose([frame.camera.center for frame in frames], (centres[1:] + centres[:-1]) / 2, atol=1e-3)


def test_stereo_of_kitti_and_poses_of_semantic_kitti(tmp_path):
    path = exports.kitti(tmp_path, rendered())
    shutil.copytree(path / "image_2", path / "image_0")
    (tmp_path / "poses/room.txt").rename(path / "poses.txt")
    sequence = open_sequence(path)
    write_folder(tmp_path / "copy", [frame.view() for frame in sequence.frames], ["l"] * 6 + ["r"] * 6)
    assert [frame.stamp for frame in open_sequence(tmp_path / "copy").frames] == [f.stamp for f in sequence.frames]
    left, right = (frame.camera for frame in sequence.instants()[3])
    np.testing.assert_allclose(
        np.linalg.inv(left.c2w) @ right.c2w, np.eye(4) + exports.BASELINE * np.eye(4, k=3), atol=1e-9
    )


@pytest.mark.parametrize("kind", ("scannet", "polycam"))
def test_smaller_depth_is_repeated(tmp_path, kind):
    getattr(exports, kind)(tmp_path, rendered(), shrink=2)
    depth = open_sequence(tmp_path).frames[1].read_depth()
    small = np.rint(rendered()[1].depth[1::2, 1::2] * 1000) / 1000
    np.testing.assert_allclose(depth, small.repeat(2, 0).repeat(2, 1), atol=1e-6)


def test_unknown_depth(tmp_path):
    views = [exports.with_hole(view) for view in rendered()]
    for kind in WITH_DEPTH:
        depth = open_sequence(write_export(kind, tmp_path / kind, views)[1]).frames[0].read_depth()
        np.testing.assert_array_equal(np.isnan(depth), np.isnan(views[0].depth), err_msg=kind)


def test_intrinsics_of_7_scenes(tmp_path, caplog):
    image, depth = np.zeros((480, 640, 3), np.uint8), np.full((480, 640), 2000, np.uint16)
    for name in ("frame-000000", "frame-000001"):
        save(tmp_path / f"{name}.color.png", image)
        save(tmp_path / f"{name}.depth.png", depth)
        write(tmp_path / f"{name}.pose.txt", [numbers(row) for row in np.eye(4)])
    with caplog.at_level(logging.WARNING):
        frame = open_sequence(tmp_path).frames[0]
    np.testing.assert_array_equal(frame.camera.K, [[585, 0, 320], [0, 585, 240], [0, 0, 1]])
    assert "no calibration" in caplog.text and np.isfinite(frame.read_depth()).all()
    # Where the colour camera sees more than the depth camera, the depth is not known.
    frame = open_sequence(f"7scenes:{tmp_path}?intrinsics=[525,525,320,240]").frames[0]
    seen = np.isfinite(frame.read_depth())
    assert frame.camera.K[0, 0] == 525 and 0.99 < seen.mean() / (525 / 585) ** 2 < 1.01 and not seen[0].any()
    matrix = "570 0 319.5 0 0 570 239.5 0 0 0 1 0 0 0 0 1"
    write(tmp_path / "info.txt", [f"m_calibration{name}Intrinsic = {matrix}" for name in ("Color", "Depth")])
    np.testing.assert_array_equal(open_sequence(tmp_path).frames[0].camera.K, [[570, 0, 320], [0, 570, 240], [0, 0, 1]])


def test_scannet_images_that_were_shrunk_on_export(tmp_path):
    exports.scannet(tmp_path, rendered())
    for file in (tmp_path / "color").iterdir():
        Image.open(file).resize((WIDTH // 2, HEIGHT // 2)).save(file)
    with pytest.raises(InvalidRequest, match=r"41, 28.25|outside an image of 40x30; the option size=\[WIDTH,HEIGHT\]"):
        open_sequence(tmp_path)
    frame = open_sequence(f"scannet:{tmp_path}?size=[{WIDTH},{HEIGHT}]").frames[0]
    np.testing.assert_allclose(frame.camera.K[:2], K[:2] / 2)
    assert frame.view().depth.shape == (HEIGHT // 2, WIDTH // 2)


def test_polycam_poses_that_were_not_optimised(tmp_path, caplog):
    exports.polycam(tmp_path, rendered(), corrected="")
    check_cameras(open_sequence(tmp_path))
    assert "no corrected_images" in caplog.text


def test_black_borders_of_polycam_are_no_part_of_the_scene(tmp_path):
    view = rendered()[0]
    image = np.maximum(view.image, 40)
    image[:, :8] = image[20:30, 30:40] = 0  # a border, and something black
    exports.polycam(tmp_path, [replace(view, image=image)])
    mask = open_sequence(tmp_path).frames[0].view().mask
    assert not mask[:, :7].any() and mask[:, 9:].all()


def r3d(folder: Path) -> Path:
    """A .r3d file; depth of low confidence in the first row."""
    lzfse = pytest.importorskip("lzfse", reason="the extra record3d is not installed")
    file = folder / "room.r3d"
    with zipfile.ZipFile(file, "w") as recording:
        content = exports.record3d_metadata(rendered())
        del content["frameTimestamps"]
        content["perFrameIntrinsicCoeffs"] = [exports.lens(view, half=False) for view in rendered()]
        recording.writestr("metadata", json.dumps(content | {"K": [1] * 9}))
        for number, view in enumerate(rendered()):
            save(folder / "now.jpg", view.image)
            recording.write(folder / "now.jpg", f"rgbd/{number}.jpg")
            confidence = np.full(view.depth.shape, 2, np.uint8)
            confidence[0] = 0
            recording.writestr(f"rgbd/{number}.depth", lzfse.compress(view.depth.tobytes()))
            recording.writestr(f"rgbd/{number}.conf", lzfse.compress(confidence.tobytes()))
    return file


def test_r3d_files(tmp_path, caplog, monkeypatch):
    file = r3d(tmp_path)
    (tmp_path / "out").mkdir()
    zipfile.ZipFile(file).extractall(tmp_path / "out")
    for path in (file, tmp_path / "out"):
        sequence = open_sequence(path)
        check_cameras(sequence)
        depth = sequence.frames[2].view().depth
        assert np.isnan(depth[0]).all() and not sequence.timed
        np.testing.assert_array_equal(depth[1:], rendered()[2].depth[1:])
    assert open_scenes(f"record3d:{file}").names == ["room.r3d"]
    assert open_scenes(f"record3d:{tmp_path}").names == ["out", "room.r3d"]
    monkeypatch.setitem(sys.modules, "lzfse", None)
    assert not open_sequence(file).has_depth
    assert "depth of .r3d files needs the extra 'record3d'" in caplog.text and "pip install 'lzfse" in caplog.text


def test_openexr(tmp_path):
    depth = np.random.default_rng(1).random((37, 20), np.float32)
    file = tmp_path / "a.exr"
    for values in (depth, np.tile(depth[:1], (37, 1))):  # what zlib makes no smaller is stored as it is
        write_exr(file, values)
        np.testing.assert_array_equal(read_exr(file.read_bytes(), "a.exr"), values)
    content = file.read_bytes()
    for broken, message in (
        (content[:-40], "not a readable OpenEXR file .* truncated"),
        (content[:60], "not a readable OpenEXR file .* truncated"),
        (b"PNG" + content, "no OpenEXR file"),
        (content.replace(b"\1\0\0\0\3", b"\1\0\0\0\4"), "OpenEXR compression PIZ"),
    ):
        with pytest.raises(InvalidRequest, match=f"a.exr: .*{message}"):
            read_exr(broken, "a.exr")
