# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo end to end, as processes over DDS; and what it and its camera cannot do."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gld_ros.data.sequence import open_sequence, write_folder
from gld_ros.data.simulation import Robot
from gld_ros.ros.demo.__main__ import main
from gld_ros.scene.ply import read_ply

COUNT, SHOWN, TARGETS, SEEDS = 7, 4, 3, 2  # every second frame of 7 is left out and asked for


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """A short drive of the simulated robot as a sequence folder."""
    robot = Robot(1_000_000_011, 3 * COUNT, 128, 96)
    return write_folder(tmp_path_factory.mktemp("drive") / "room", robot.views(list(range(0, 3 * COUNT, 3))))


def test_demo_end_to_end(drive, tmp_path):
    command = [sys.executable, "-m", "gld_ros.ros.demo", "--sequence", str(drive), "--out", str(tmp_path)]
    done = subprocess.run([*command, "--seeds", str(SEEDS)], capture_output=True, text=True, timeout=300)
    logs = "".join(log.read_text() for log in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["views_requested"] == report["views_returned"] == TARGETS
    assert report["trajectory"]["views_returned"] == report["trajectory"]["views_requested"] > 0
    assert report["trajectory"]["feedback"] > 0 and not report["errors"]
    assert report["depth_abs_rel"] > 0 and report["latency_s"]["max"] >= report["latency_s"]["median"] > 0
    assert report["psnr_db"] > 8 and report["copy_nearest_psnr_db"] > 8  # pictures of the same room, not noise
    camera = report["messages"]["/camera/image_raw"]
    assert camera["published"] == SHOWN and camera["received"] + camera["dropped"] == SHOWN
    views = report["messages"]["/gld_node/views"]
    assert views["published"] == views["received"] == SEEDS * TARGETS + report["trajectory"]["views_requested"]
    assert all(view["seeds"] == SEEDS and view["depth_spread_observed"] is not None for view in report["views"])
    assert f"generated: {100 * report['generated_share']:.0f} % of the requested pixels" in done.stdout.splitlines()
    points = read_ply(tmp_path / "points.ply")
    assert len(points.xyz) > 0 and np.isfinite(points.xyz).all()
    assert (tmp_path / "scene.mcap").stat().st_size > 1000 and "<canvas" in (tmp_path / "results.html").read_text()
    assert report["messages"]["/gld_node/map/occupancy"]["received"] > 0  # the grid is in the bag
    for name in ("sheet.png", "cloud.png"):
        assert Image.open(tmp_path / name).size[0] > 300
    recorded = open_sequence(tmp_path / "bag")  # what was published can be played again
    original = open_sequence(drive)
    shown = [frame for index, frame in enumerate(original.frames) if index % 2 == 0]
    np.testing.assert_allclose(
        [frame.camera.c2w for frame in recorded.frames], [frame.camera.c2w for frame in shown], atol=1e-6
    )
    np.testing.assert_array_equal(recorded.frames[1].view().image, shown[1].view().image)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    ((["--sequence", "."], "transforms.json: not valid JSON"), (["--seeds", "0"], "--seeds 0: at least 1 is expected")),
)
def test_demo_names_what_cannot_be(tmp_path, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the demo's own is for its process
    (tmp_path / "transforms.json").write_text('{"frames": [')
    assert main(arguments) == 1 and reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parameters", "message"),
    (
        ([], "parameter sequence is empty"),
        (["sequence:=/nowhere/at/all"], "/nowhere/at/all: no such file or folder"),
    ),
)
def test_replay_names_what_it_cannot_play(parameters, message):
    code = "import sys; from gld_ros.ros.drivers.replay import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--ros-args"]
    for parameter in parameters:
        command += ["-p", parameter]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
