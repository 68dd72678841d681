# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""UTM coordinates: clouds, maps and clips keep their shape."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from builders.datasets import WIDTH, rendered

from gld_ros.cli import main
from gld_ros.data.bag_writer import write_bag
from gld_ros.data.scenes import open_scenes
from gld_ros.data.sequence import open_sequence, write_folder
from gld_ros.evaluation.scenes import Choice, scene_of_clip
from gld_ros.geometry.points import float32_step, local_origin
from gld_ros.scene.map.config import MapConfig
from gld_ros.scene.map.voxel_map import VoxelMap
from gld_ros.scene.ply import Points, read_ply, write_ply
from gld_ros.views import SourceView

UTM = np.array([388099.85, 3948999.74, 41.8])
SOUTH = np.array([-448262.25, -9311932.5, -120.0])


def moved(view: SourceView, offset: np.ndarray) -> SourceView:
    pose = view.camera.c2w.copy()
    pose[:3, 3] += offset
    return replace(view, camera=view.camera.moved(pose))


def cloud(scene, out) -> tuple[Points, dict]:
    assert main(["synthesize", str(scene), "--sources", "0,4", "--targets", "2", "--out", str(out)]) == 0
    return read_ply(out / "points.ply"), json.loads((out / "report.json").read_text())


def test_the_cloud_of_a_folder_and_of_a_bag(tmp_path):
    near, report = cloud(write_folder(tmp_path / "near", rendered()), tmp_path / "near_out")
    assert report["points_origin"] == [0, 0, 0]
    assert b"comment" not in (tmp_path / "near_out/points.ply").read_bytes()
    write_folder(tmp_path / "folder", [moved(view, UTM) for view in rendered()])
    south = write_folder(tmp_path / "south", [moved(view, SOUTH) for view in rendered()])
    write_bag(open_sequence(south), tmp_path / "bag")
    for name, offset in (("folder", UTM), ("bag", SOUTH)):
        far, report = cloud(tmp_path / name, tmp_path / f"{name}_out")
        np.testing.assert_allclose(far.xyz - offset, near.xyz, atol=1e-3)
        origin = report["points_origin"]
        assert np.linalg.norm(np.array(origin) - offset) < 20
        text = " ".join(f"{value:.0f}" for value in origin)
        assert f"\ncomment origin {text}\n".encode() in (tmp_path / f"{name}_out/points.ply").read_bytes()


@pytest.mark.parametrize("backend", ("voxel_hash", "open3d"))
def test_a_saved_map(tmp_path, backend):
    if backend == "open3d":
        pytest.importorskip("open3d")
    clouds = []
    for name, offset in (("near", np.zeros(3)), ("far", np.round(UTM))):  # a whole number of voxels
        made = VoxelMap(MapConfig(backend=backend, confirmations=0))
        for view in (moved(view, offset) for view in rendered()[:2]):
            confidence = np.full(view.depth.shape, 0.9, np.float32)
            made.integrate_observed(view.depth, view.image, confidence, view.camera, view.stamp)
        clouds.append(read_ply(made.save(tmp_path / name)[1]).xyz - offset)
    near, far = (points[np.lexsort(np.round(points, 3).T)] for points in clouds)
    assert len(near) == len(far) > WIDTH
    assert max(np.abs(near - far).max(axis=0)) < 1e-3


def test_a_clip_and_its_scene(tmp_path):
    write_folder(tmp_path / "scene", [moved(view, UTM) for view in rendered()])
    clip = open_scenes(f"nerfstudio:{tmp_path}/scene").load(0, [0, 2, 4]).check()
    scene = scene_of_clip(clip, Choice([0, 2], [1]), "test")
    apart = scene.sources[1].camera.center - scene.sources[0].camera.center
    np.testing.assert_allclose(apart, rendered()[4].camera.center - rendered()[0].camera.center, atol=1e-5)


def test_steps_of_float32_and_the_origin():
    assert float32_step(np.array([0.5, -3.0, np.nan])) == pytest.approx(2.4e-7, rel=0.01)
    assert float32_step(UTM) == 0.25 and float32_step(np.full(3, np.nan)) == 0
    np.testing.assert_array_equal(local_origin(np.array([[900.0, 3, 0]])), np.zeros(3))
    np.testing.assert_array_equal(local_origin(np.array([[5000.2, -0.2, 7], [np.nan] * 3])), [5000, 0, 7])


def test_a_ply_file_with_an_origin_is_read_back(tmp_path):
    rng = np.random.default_rng(2)
    xyz = UTM + rng.normal(size=(40, 3))
    points = Points(xyz, np.zeros((40, 3), np.uint8), np.ones(40, np.float32), np.zeros(40, bool))
    write_ply(tmp_path / "cloud.ply", points)
    np.testing.assert_allclose(read_ply(tmp_path / "cloud.ply").xyz, xyz, atol=1e-6)
