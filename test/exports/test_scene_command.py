# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld scene` by mini and by a Gen3R of random weights: tasks, paths, files of cameras, refusals."""

import json

import numpy as np
import pytest
from builders.gen3r_folder import TINY, tiny_gen3r_folder

from gld_ros.cli import main
from gld_ros.scene.camera_paths import PATHS, camera_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_gen3r_folder(tmp_path_factory.mktemp("gen3r") / "tiny")


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    out = tmp_path_factory.mktemp("sequence") / "rooms"
    assert main(["data", "rooms", "--out", str(out), "--frames", "7", "--size", "64x48"]) == 0
    return out


def report(out):
    return json.loads((out / "report.json").read_text())


@pytest.mark.parametrize("cameras", ["known", "free"])
@pytest.mark.parametrize("task", ["1view", "2view", "allview"])
def test_gen3r(folder, sequence, tmp_path, task, cameras):
    what = [
        "scene",
        str(sequence),
        "--model",
        str(folder),
        "--task",
        task,
        "--steps",
        "1",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main([*what, *(["--path", "free"] if cameras == "free" else [])]) == 0
    found = report(tmp_path / "o")
    given = {"1view": 1, "2view": 2, "allview": TINY.frames}[task]
    assert found["views"] == (TINY.frames if task == "allview" else TINY.frames - given)
    assert found["notes"][0] == "the weights are random: nothing here means anything"
    assert found["unit"] == "m" and found["scale"]["method"] == "depth"  # the rooms have depth images
    cameras = json.loads((tmp_path / "o/cameras.json").read_text())["cameras"]
    assert len(cameras) == given + found["views"] and cameras[-1]["width"] == TINY.size
    assert (tmp_path / "o/scene.html").stat().st_size > 10_000


def test_options_of_the_model(folder, sequence, tmp_path, capsys):
    what = ["scene", str(sequence), "--model", str(folder), "--task", "1view", "--steps", "1"]
    assert main([*what, "--option", "frames=9", "--option", "prompt=a hall", "--out", str(tmp_path / "o")]) == 0
    assert report(tmp_path / "o")["views"] == 8
    for option, message in (("promt=x", "unknown setting promt"), ("frames=x", "frames is 'x', expected a valid int")):
        assert main([*what, "--option", option, "--out", str(tmp_path / "p")]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_mini_and_its_own_cameras(sequence, tmp_path):
    """An orbit around what one view with depth sees; then the same cameras from a file."""
    what = ["scene", str(sequence), "--task", "1view", "--size", "112x80"]
    assert main([*what, "--views", "3", "--out", str(tmp_path / "a")]) == 0
    again = ["--cameras", str(tmp_path / "a/cameras.json"), "--out", str(tmp_path / "b")]
    assert main([*what, *again]) == 0
    first, second = (json.loads((tmp_path / name / "cameras.json").read_text())["cameras"] for name in "ab")
    np.testing.assert_allclose([c["c2w"] for c in first], [c["c2w"] for c in second], atol=1e-12)
    assert report(tmp_path / "a")["path"] == "orbit" and report(tmp_path / "a")["notes"] == []
    assert (tmp_path / "a/images/002.png").read_bytes() == (tmp_path / "b/images/002.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "1view", "--path", "between"], "path 'between' needs two views"),
        (["--task", "2view", "--frames", "0"], "1 frames are given, '2view' takes 2"),
        (["--frames", "0,70"], "frame 70 does not exist"),
        (["--path", "loop"], "camera path is 'loop', expected one of orbit"),
        (["--path", "orbit", "--cameras", "x.json"], "one of them is expected"),
        (["--cameras", "nowhere.json"], "nowhere.json: not readable JSON"),
        (["--option", "prompt=x"], "model 'mini' has no option prompt"),
        (["--path", "free"], "model 'mini' has no option free"),
        (["--nearest", "0"], "a share above 0 up to 1, metres above 0"),
        (["--confidence", "50"], "--confidence 50: a share"),
        (["--path", "orbit", "--distance", "-1"], "expected a distance above 0"),
        (["--path", "orbit", "--distance", "0"], "expected a distance above 0"),
        (["--path", "given", "--distance", "1"], "turn_right; this one is given"),
        (["--views", "0"], "0 views: expected at least 1"),
        (["--views", "3", "--cameras", "x.json"], "3 views: the file of cameras says how many"),
        (["--out", __file__], "test_scene_command.py: cannot be written: it is no folder"),
    ],
)
def test_refused(sequence, tmp_path, capsys, arguments, message):
    assert main(["scene", str(sequence), "--out", str(tmp_path / "out"), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_of_inverse_poses_is_refused(sequence, tmp_path, capsys):
    camera = {"name": "view", "width": 64, "height": 48, "K": [[50, 0, 32], [0, 50, 24], [0, 0, 1]]}
    frames = json.loads((sequence / "transforms.json").read_text())["frames"]
    c2w = np.array(frames[0]["transform_matrix"]) @ np.diag([1.0, -1, -1, 1])
    content = {"cameras": [camera | {"c2w": np.linalg.inv(c2w).tolist()}]}
    (tmp_path / "w2c.json").write_text(json.dumps(content))
    status = main(["scene", str(sequence), "--cameras", str(tmp_path / "w2c.json"), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert status == 1 and "are c2w and w2c mixed up?" in said


def test_paths_end_where_they_say():
    for name in PATHS:
        path = camera_path(name, np.eye(4), 8, 2.0)
        assert len(path) == 8 and not np.allclose(path[1], np.eye(4), atol=1e-3)
    right = camera_path("right", np.eye(4), 4, 2.0)
    assert right[-1][0, 3] == pytest.approx(0.7) and camera_path("up", np.eye(4), 4, 2.0)[-1][1, 3] < 0
    assert camera_path("forward", np.eye(4), 4, 2.0)[-1][2, 3] > 0
    assert camera_path("turn_right", np.eye(4), 4, 2.0)[-1][0, 2] > 0.5  # the view's direction
    for pose in camera_path("orbit", np.eye(4), 8, 2.0):
        np.testing.assert_allclose(pose[:3, 3] + 2.0 * pose[:3, 2], [0, 0, 2], atol=1e-9)
