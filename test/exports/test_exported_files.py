# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files of a made scene, opened by the tools they are for, and by our own readers."""

import json
from dataclasses import replace

import av
import numpy as np
import pycolmap
import pytest
import trimesh
from PIL import Image

from gld_ros.data.camera_files import read_cameras
from gld_ros.data.sequence import open_sequence
from gld_ros.errors import InvalidRequest
from gld_ros.exports.formats import FORMATS, export
from gld_ros.exports.made_scene import Kept, MadeScene
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import look_at
from gld_ros.scene.ply import read_ply
from gld_ros.views import ObservedDepth, Scale, SourceView, View

W, H = 33, 24  # an odd width, which H.264 has not
K = np.array([[30.0, 0, 16.1], [0, 31.0, 11.9], [0, 0, 1]])
MIDDLE = np.array([0.0, 0.0, 2.0])


def camera(x: float) -> Camera:
    return Camera(K, look_at(np.array([x, 0.3 * x, 0.1]), MIDDLE, up=(0, -1, 0)), W, H)


def view(x: float) -> View:
    """A wall at 2 m whose right third is generated, whose first column is unknown, with one pixel far behind it."""
    rng = np.random.default_rng(int(10 * x))
    depth = np.full((H, W), 2.0, np.float32)
    depth[:, 0], depth[5, 5] = np.nan, 40.0
    generated = np.zeros((H, W), bool)
    generated[:, 22:] = True
    image = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    confidence = np.full((H, W), 0.7, np.float32)
    return View(camera(x), image, depth, confidence, generated, Scale(1.0, "poses", 0.1), "toy", 0)


@pytest.fixture(scope="module")
def made() -> MadeScene:
    image = np.full((H, W, 3), 90, np.uint8)
    source = SourceView(image, camera(0.0), 5)
    sure = np.full((H, W), 0.9, np.float32)
    observed = ObservedDepth(np.full((H, W), 2.1, np.float32), image, sure, source.camera, 5)
    return MadeScene(
        [source], [observed], [view(0.1 * k) for k in range(1, 6)], Kept(0.99), "m", ["the weights are random"]
    )


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    export(out, made)
    return out


def test_everything_is_there(folder):
    names = {name.strip() for names in FORMATS for name in names.split(",")} - {"sparse/0/*.txt"}
    assert all((folder / name).exists() for name in names)
    assert len(list((folder / "images").iterdir())) == 6 == len(list((folder / "generated").iterdir()))
    mask = np.array(Image.open(folder / "generated/003.png"))
    assert (mask[:, 22:] == 255).all() and not mask[:, :22].any()
    assert not np.array(Image.open(folder / "generated/000.png")).any()


def test_the_cloud(folder, made):
    """Unknown and far pixels are left out, in each view by its own depths; the source's own depth is observed."""
    points = read_ply(folder / "points.ply")
    assert len(points.xyz) == 5 * (H * (W - 1) - 1) + H * W
    assert points.generated.sum() == 5 * H * 11
    assert np.linalg.norm(points.xyz - MIDDLE, axis=1).max() < 3
    near = MadeScene(made.sources, [], made.views, Kept(1.0, metres=1.0)).points()
    assert len(near.xyz) == 0
    sure = replace(made, keep=Kept(confidence=0.8)).points()
    assert len(sure.xyz) == H * W and not sure.generated.any()  # the source's own depth


def test_our_reader_and_pycolmap_read_the_same_cameras(folder, made):
    model = pycolmap.Reconstruction(str(folder / "sparse/0"))
    assert len(model.images) == 6 and len(model.points3D) == len(read_ply(folder / "points.ply").xyz)
    sequence = open_sequence(f"nerfstudio:{folder}")
    for image, frame, wanted in zip(
        sorted(model.images.values(), key=lambda i: i.name), sequence.frames, made.cameras, strict=True
    ):
        matrix = image.cam_from_world() if callable(image.cam_from_world) else image.cam_from_world
        np.testing.assert_allclose(matrix.matrix(), wanted.w2c[:3], atol=1e-9)
        lens = model.cameras[image.camera_id]
        np.testing.assert_allclose(lens.calibration_matrix(), K)
        assert (lens.width, lens.height) == (W, H)
        np.testing.assert_allclose(frame.camera.c2w, wanted.c2w, atol=1e-9)
    ours = open_sequence(f"colmap:{folder}")
    for frame, wanted in zip(ours.frames, made.cameras, strict=True):
        np.testing.assert_allclose(frame.camera.c2w, wanted.c2w, atol=1e-9)
        np.testing.assert_allclose(frame.camera.K, K)
    np.testing.assert_array_equal(ours.frames[2].view().image, made.views[1].image)


def test_transforms_json_has_the_depth(folder, made):
    sequence = open_sequence(f"nerfstudio:{folder}")
    assert sequence.metric and sequence.camera_names == ["source", "view"]
    found = sequence.frames[1].view()
    np.testing.assert_array_equal(found.image, made.views[0].image)
    np.testing.assert_allclose(found.depth, made.views[0].depth, atol=1e-3)


def test_glb_opens_with_points_and_frusta(folder):
    scene = trimesh.load(folder / "scene.glb")
    assert set(scene.geometry) == {"observed", "generated", "sources", "views"}
    points = read_ply(folder / "points.ply")
    assert len(scene.geometry["generated"].vertices) == points.generated.sum()
    # The first source looks along -z, with y up.
    middle = scene.geometry["observed"].vertices.mean(axis=0)
    assert middle[2] < -1.5 and abs(middle[0]) < 0.5
    assert scene.geometry["sources"].bounds[0][2] < 0 and np.abs(scene.geometry["sources"].bounds).max() < 0.5


@pytest.mark.parametrize("name", ["rgb.mp4", "depth.mp4"])
def test_videos_have_every_view(folder, name):
    with av.open(str(folder / name)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].codec_context.name == "h264"
    assert len(frames) == 5 and frames[0].shape == (24, 32, 3)


def test_cameras_read_back(folder, made, tmp_path):
    for file in ("cameras.json", "transforms.json"):
        found = read_cameras(folder / file, made.sources[0].camera)
        wanted = made.cameras[1:] if file == "cameras.json" else made.cameras
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one.c2w, other.c2w, atol=1e-12)
            np.testing.assert_allclose(one.K, K)


def test_cameras_of_the_official_gen3r(made, tmp_path):
    """World to camera, in a world of their own: the first is where the source is."""
    world = look_at(np.array([3.0, 1, 0]), np.array([0.0, 0, 9]))
    w2c = [np.linalg.inv(world @ np.linalg.inv(camera(0.0).c2w) @ camera(0.2 * k).c2w) for k in range(4)]
    content = {"extrinsics": np.stack(w2c).tolist(), "intrinsics": [[[480, 0, 280], [0, 480, 280], [0, 0, 1]]] * 4}
    file = tmp_path / "official.json"
    file.write_text(json.dumps(content))
    found = read_cameras(file, made.sources[0].camera)
    assert len(found) == 3 and (found[0].width, found[0].height) == (560, 560)
    for k, one in enumerate(found, start=1):
        np.testing.assert_allclose(one.c2w, camera(0.2 * k).c2w, atol=1e-9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable JSON"),
        ('{"c2w": []}', "has c2w; expected 'cameras' .* 'extrinsics' and 'intrinsics' .Gen3R: world to camera"),
        ('{"cameras": []}', "no cameras to ask for"),
        ('{"extrinsics": [[1]], "intrinsics": []}', "ValueError: .*expected .F, 4, 4. and .F, 3, 3."),
        ('{"frames": [{"transform_matrix": [[1]]}]}', "KeyError: 'fl_x'"),
    ],
)
def test_files_that_hold_no_cameras(made, tmp_path, content, message):
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(InvalidRequest, match=f"file.json: {message}"):
        read_cameras(tmp_path / "file.json", made.sources[0].camera)


def test_nothing_left_of_the_cloud(made, tmp_path):
    """Files of a scene all of whose points are too unsure: cameras and images, and clouds of no points."""
    points = export(tmp_path, replace(made, keep=Kept(confidence=1.0)))
    assert len(points.xyz) == 0 == len(read_ply(tmp_path / "points.ply").xyz)
    assert set(trimesh.load(tmp_path / "scene.glb").geometry) == {"sources", "views"}
    model = pycolmap.Reconstruction(str(tmp_path / "sparse/0"))
    assert len(model.images) == 6 and len(model.points3D) == 0


def test_a_scene_without_metres_says_so(made, tmp_path):
    export(tmp_path, replace(made, unit="units", observed=[]))
    assert open_sequence(f"nerfstudio:{tmp_path}").metric is False
    assert json.loads((tmp_path / "cameras.json").read_text())["unit"] == "units"
