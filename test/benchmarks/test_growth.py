# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench growth` at small sizes, and that the largest sizes cost no more work than they must."""

import json

import pytest

from gld_ros.benchmarks.growth import Sizes, exponent, wall_map
from gld_ros.cli import main
from gld_ros.scene import key_frames
from gld_ros.scene.key_frames import KeyFrameBuffer, KeyFrameRules, select_sources


def test_growth(tmp_path, capsys):
    assert main(["bench", "growth", "--most", "1", "--repeat", "1", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["axis"] for row in report["axes"]].count("voxels") == 3 and len(report["axes"]) == 9
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in report["axes"])
    assert "| key frames" in capsys.readouterr().out and (tmp_path / "growth.png").stat().st_size > 1000
    assert main(["bench", "growth", "--repeat", "0"]) == 1


def test_exponents_and_sizes():
    assert exponent([10, 100, 1000], [0.02, 0.2, 2.0]) == pytest.approx(1.0)
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2.0)
    assert Sizes().up_to(1000).key_frames == [10, 100, 1000]
    assert 10_000 <= wall_map(10_000).sizes()["observed"] < 40_000


def test_each_frame_is_looked_at_once(monkeypatch):
    """The choice of sources asks once for each frame what it sees, however many are chosen."""
    from gld_ros.benchmarks.growth import along, wall_camera

    asked, sees = [], key_frames.sees
    monkeypatch.setattr(key_frames, "sees", lambda camera, points: asked.append(1) or sees(camera, points))
    assert len(select_sources(along(40), [wall_camera(3.0)], 4)) == 4
    assert len(asked) == 40


def test_a_frame_is_compared_with_those_beside_it_alone(monkeypatch):
    """Not with all that are kept: they may be ten thousand, and images come thirty times a second."""
    from gld_ros.benchmarks.growth import along, wall_camera

    buffer = KeyFrameBuffer(KeyFrameRules(capacity=1000, max_age=1e9), [("camera", view) for view in along(200)])
    asked, near = [], KeyFrameBuffer._near
    monkeypatch.setattr(KeyFrameBuffer, "_near", lambda self, a, b: asked.append(1) or near(self, a, b))
    assert not buffer.wants("camera", wall_camera(0.15 * 7).c2w, 0) and buffer.wants("camera", wall_camera(-5).c2w, 0)
    assert len(asked) <= 2
    buffer.drop(lambda name, view: True)
    assert buffer.wants("camera", wall_camera(0.15 * 7).c2w, 0)
