# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval --path`: paths through held-out rooms, and the agreement of neighbouring views along them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gld_ros.cli import main
from gld_ros.evaluation.methods import Picture
from gld_ros.evaluation.paths import TRUTH, neighbours_agree, truth_of
from gld_ros.evaluation.scenes import path_scenes
from gld_ros.geometry.se3 import rotation_angle


@pytest.fixture(scope="module")
def path():
    return next(path_scenes("val", 1, 4))


def truth(path):
    return [Picture(target.image, target.depth) for target in path.scene.targets]


def test_a_path_goes_on_from_the_sources_to_what_they_do_not_show(path):
    poses = [camera.c2w for camera in (path.scene.sources[0].camera, *path.scene.cameras)]
    ways = [np.linalg.norm(a[:3, 3] - b[:3, 3]) + rotation_angle(a, b) for a, b in zip(poses, poses[1:], strict=False)]
    assert len(ways) == 4 and max(ways) < 3 * min(ways)
    assert path.unobserved.shape == (4, 144, 192) and path.unobserved[-1].mean() > path.unobserved[0].mean()
    assert all(source.depth is None for source in path.scene.sources)
    assert next(path_scenes("val", 1, 4)).scene.name == path.scene.name


def test_views_of_another_world_do_not_agree(path):
    real = truth(path)
    agreed = neighbours_agree(real, path)
    assert agreed["agreement_within"] > 0.9 and agreed["agreement_psnr_db"] > 25
    other = replace(real[2], depth=real[2].depth * 1.1, image=real[2].image // 2)
    found = neighbours_agree([*real[:2], other, real[3]], path)
    assert found["agreement_within"] < agreed["agreement_within"] - 0.2
    assert found["agreement_psnr_db"] < agreed["agreement_psnr_db"] - 5
    assert truth_of(real, path)["depth_abs_rel"] == 0 < truth_of([*real[:3], other], path)["depth_abs_rel"]


def test_the_command(tmp_path, capsys):
    arguments = ["eval", "mini", "--path", "3", "--split", "val", "--scenes", "1", "--steps", "1", "--device", "cpu"]
    assert main([*arguments, "--json", "--out", str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert list(report["ways"]) == ["one request", "windows apart", "one by one", TRUTH]
    together, alone = report["ways"]["one request"], report["ways"]["one by one"]
    assert together["agreement_within"]["mean"] > alone["agreement_within"]["mean"]
    assert set(together) == set(report["definitions"]) and report["settings"]["path"] == 3
    assert main([*arguments, "--samples", "2"]) != 0
    assert "--samples does not go together with --path" in capsys.readouterr().err
