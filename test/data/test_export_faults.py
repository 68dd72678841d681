# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld data check` names what is wrong with recordings, benchmarks and apps' exports."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from builders.datasets import rendered, write_export
from builders.exports import write

from gld_ros.cli import main
from gld_ros.data.sequence import open_sequence
from gld_ros.errors import InvalidRequest


def remove(name):
    return lambda path: (path / name).unlink()


def replace(name, old, new):
    def change(path):
        text = (path / name).read_text()
        assert old in text
        (path / name).write_text(text.replace(old, new))

    return change


def change_json(name, change):
    def edit(path):
        content = json.loads((path / name).read_text())
        change(content)
        (path / name).write_text(json.dumps(content))

    return edit


def lines(name, change):
    return lambda path: write(path / name, change((path / name).read_text().splitlines()))


CAM, TRUTH = "mav0/cam0", "mav0/state_groundtruth_estimate0"
TIME = rendered()[1].stamp
SHOT = f"keyframes/corrected_cameras/{TIME // 1000}.json"
LOST = ["-inf -inf -inf -inf"] * 4
FAULTS = (
    ("euroc", remove(f"{CAM}/data/{TIME}.png"), f"cam0/data.csv: entry 1: .*{TIME}.png does not exist"),
    ("euroc", remove(f"{CAM}/sensor.yaml"), "cam0/sensor.yaml: cannot be read"),
    ("euroc", replace(f"{CAM}/sensor.yaml", "pinhole", "omni"), "camera_model is 'omni', pinhole is expected"),
    ("euroc", replace(f"{CAM}/sensor.yaml", "radial-", "fov"), "distortion_model is 'fovtangential', one of radial-"),
    ("euroc", replace(f"{CAM}/sensor.yaml", "[80,", "[81,"), r"80x60 pixels, 81x60 expected"),
    ("euroc", replace(f"{CAM}/sensor.yaml", "T_BS", "T_CB"), "T_BS is missing"),
    ("euroc", replace(f"{CAM}/sensor.yaml", "T_BS:\n  cols: 4", "T_BS:\n  cols: ["), "sensor.yaml: not valid YAML"),
    ("euroc", replace(f"{CAM}/sensor.yaml", "data: [", "data: [2, "), "T_BS: data is .*, 16 numbers are expected"),
    ("euroc", lines(f"{CAM}/data.csv", lambda rows: [row[:-1] for row in rows]), "entry 0: .* does not exist"),
    ("euroc", lines(f"{CAM}/data.csv", lambda rows: [row.replace("13", "14", 1) for row in rows]), "no image at a"),
    ("euroc", lines(f"{TRUTH}/data.csv", lambda rows: rows[:1]), "estimate0/data.csv: empty"),
    ("euroc", lines(f"{TRUTH}/data.csv", lambda rows: [row[:60] for row in rows]), "entry 0: . columns, a timestamp"),
    ("euroc", lambda path: (path / TRUTH).rename(path / "mav0/leica0"), "leica0 has positions without orientations"),
    ("kitti", remove("image_2/000003.png"), "5 images in image_2, 6 times in times.txt and 6 poses"),
    ("kitti", lines("times.txt", lambda rows: rows[:-2]), "6 images in image_2, 4 times in times.txt and 6 poses"),
    ("kitti", remove("../../poses/room.txt"), "no poses; .*/poses/room.txt is expected"),
    ("kitti", lines("../../poses/room.txt", lambda rows: [*rows[:2], "2 " + rows[2].split(" ", 1)[1], *rows[3:]]),
     "room.txt: line 3: pose is not rigid"),
    ("kitti", lines("../../poses/room.txt", lambda rows: [rows[0] + " 1", *rows[1:]]), "13 columns, 12 are expected"),
    ("kitti", replace("calib.txt", "P2:", "Q2:"), "calib.txt: P2 is missing, the projection of image_2"),
    ("kitti", lines("calib.txt", lambda rows: [f"{row} 1" for row in rows]), "P0 has 13 numbers, 12 are expected"),
    ("7scenes", remove("frame-000002.pose.txt"), "6 color, 5 pose, 6 depth; pose of frame-000002 is missing; 1 of 6"),
    ("7scenes", remove("frame-000002.depth.png"), "6 color, 6 pose, 5 depth; depth of frame-000002 is missing"),
    ("7scenes", lines("frame-000002.pose.txt", lambda rows: LOST), "000002.pose.txt: pose holds"),
    ("7scenes", lines("frame-000002.pose.txt", lambda rows: rows[:3]), "000002.pose.txt: 4 . 4 . 4 numbers, 4 x 4"),
    ("scannet", lines("pose/3.txt", lambda rows: LOST), "pose/3.txt: pose holds NaN or infinite"),
    ("scannet", lines("pose/3.txt", lambda rows: ["2 0 0 0", *rows[1:]]), "pose/3.txt: pose is not rigid"),
    ("scannet", remove("color/3.jpg"), "5 color, 6 pose, 6 depth; color of 3 is missing"),
    ("scannet", remove("intrinsic/intrinsic_depth.txt"), "intrinsic_depth.txt: cannot be read"),
    ("scannet", replace("intrinsic/extrinsic_depth.txt", "1 0 0 0", "1 0 0 0.1"), "extrinsic_depth.txt: another pose"),
    ("polycam", change_json(SHOT, lambda camera: camera.pop("t_12")), f"{TIME // 1000}.json: t_12 is missing"),
    ("polycam", change_json(SHOT, lambda camera: camera.update(t_00=9)), "pose is not rigid"),
    ("polycam", change_json(SHOT, lambda camera: camera.update(width=800)), "800x60 pixels, its image has 80x60"),
    ("polycam", change_json(SHOT, lambda camera: camera.update(fx="wide")), "'wide'; a number is expected"),
    ("polycam", remove(f"keyframes/depth/{TIME // 1000}.png"), "6 cameras, 6 images, 5 depth, 6 confidence; depth of"),
    ("polycam", remove(f"keyframes/corrected_images/{TIME // 1000}.jpg"), "6 cameras, 5 images, .* images of .*"),
    ("record3d", remove("rgb/5.jpg"), "poses are not one for each image; 5 are expected"),
    ("record3d", remove("depth/2.exr"), "6 images, 5 depth; depth of 2 is missing"),
    ("record3d", lambda path: (path / "depth/0.exr").write_bytes(b"v/1\1"), "0.exr: not a readable OpenEXR file"),
    ("record3d", change_json("metadata.json", lambda m: m.update(poses=m["poses"][:1] * 6)), "all poses are .* LiDAR"),
    ("record3d", change_json("metadata.json", lambda m: m["poses"][2].pop()), "frame 2: the pose is .* qx qy qz qw tx"),
    ("record3d", change_json("metadata.json", lambda m: m.pop("poses")), "metadata.json: poses are missing"),
    ("record3d", change_json("metadata.json", lambda m: m.update(K=[1])), r"frame 0: K is \[1\], 9 numbers"),
    ("record3d", change_json("metadata.json", lambda m: m.update(w=60, h=80)), "80x60 pixels, the metadata say 60x80"),
    ("record3d", change_json("metadata.json", lambda m: m["frameTimestamps"].pop()), "frameTimestamps are not one"),
    ("record3d", lambda path: (path / "metadata.json").write_text("{"), "metadata.json: not valid JSON"),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "break_it", "message"), FAULTS)
def test_faults_are_named_by_gld_data_check(tmp_path, capsys, kind, break_it, message):
    path, told = write_export(kind, tmp_path)
    break_it(path)
    assert main(["data", "check", told if kind == "7scenes" else f"{kind}:{path}"]) == 1
    output = " ".join(capsys.readouterr())
    assert re.search(message, output), output


@pytest.mark.parametrize(
    ("kind", "break_it"),
    (
        ("euroc", remove(f"{CAM}/data/{TIME}.png")),
        ("kitti", lines("../../poses/room.txt", lambda rows: [rows[0], rows[1].replace(" ", " 9", 1), *rows[2:]])),
        ("7scenes", lines("frame-000001.pose.txt", lambda rows: LOST)),
        ("scannet", remove("color/1.jpg")),
        ("polycam", lambda path: (path / SHOT).write_text("{")),
        ("record3d", lambda path: (path / "depth/1.exr").write_bytes(b"")),
    ),
)
def test_bad_frames_can_be_left_out(tmp_path, caplog, kind, break_it):
    path, told = write_export(kind, tmp_path)
    break_it(path)
    with pytest.raises(InvalidRequest, match="--skip-bad-frames .* leaves such frames out"):
        [frame.view() for frame in open_sequence(told).frames]
    frames = open_sequence(told, skip_bad_frames=True).frames
    assert len(frames) == 5 and "1 of 6 frames are bad and were skipped" in caplog.text
    np.testing.assert_allclose(frames[1].camera.c2w, rendered()[2].camera.c2w, atol=1e-9)
