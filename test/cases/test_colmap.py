# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""COLMAP models, text and binary, written here and read back."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gld_ros.data.formats.colmap import MODEL_NAMES, read_colmap
from gld_ros.data.scenes import open_scenes
from gld_ros.data.sequence import open_sequence
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import intrinsics
from gld_ros.geometry.distortion import undistort
from gld_ros.geometry.se3 import quaternion_from_matrix

PINHOLE = ("PINHOLE", (24, 18), (20.0, 21.0, 11.3, 9.4))


def write_text(model: Path, camera, images) -> None:
    name, size, parameters = camera
    numbers = " ".join(map(repr, parameters))
    (model / "cameras.txt").write_text(f"# Camera list\n7 {name} {size[0]} {size[1]} {numbers}\n")
    lines = ["# Image list"]
    for number, (file, q, t) in enumerate(images):
        lines += [" ".join(map(repr, [number, *q, *t])) + f" 7 {file}", "1.5 2.5 -1" * (number % 2)]
    (model / "images.txt").write_text("\n".join(lines) + "\n")


def write_binary(model: Path, camera, images) -> None:
    name, size, parameters = camera
    number = MODEL_NAMES.index(name)
    (model / "cameras.bin").write_bytes(struct.pack(f"<QiiQQ{len(parameters)}d", 1, 7, number, *size, *parameters))
    content = struct.pack("<Q", len(images))
    for number, (file, q, t) in enumerate(images):
        content += struct.pack("<i7di", number, *q, *t, 7) + file.encode() + b"\0"
        content += struct.pack("<Qddq", 1, 1.5, 2.5, -1) if number % 2 else struct.pack("<Q", 0)
    (model / "images.bin").write_bytes(content)


WRITERS = pytest.mark.parametrize("write", (write_text, write_binary))


@pytest.fixture
def scene(tmp_path, views):
    """(writer, camera) -> a folder with images and a model, images in another order than their names."""

    def make(write, camera=PINHOLE, names=("b 1.png", "a.png", "c.png", "b 2.png"), model="sparse/0") -> Path:
        root = tmp_path / "scene"
        (root / model).mkdir(parents=True)
        images = []
        for view, name in zip(views, names, strict=True):
            (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(view.image).save(root / "images" / name)
            x, y, z, w = quaternion_from_matrix(view.camera.w2c[:3, :3]).tolist()
            images.append((name, (w, x, y, z), tuple(view.camera.w2c[:3, 3].tolist())))
        write(root / model, camera, images)
        return root

    return make


@WRITERS
def test_read_in_the_order_of_names(scene, views, write):
    root = scene(write)
    for path in (root, root / "sparse/0"):
        sequence = open_sequence(path)
        assert [Path(frame.name).name for frame in sequence.frames] == ["a.png", "b 1.png", "b 2.png", "c.png"]
        assert sequence.metric is False and not sequence.timed and sequence.camera_names == ["camera"]
        for frame, view in zip(sequence.frames, (views[k] for k in (1, 0, 3, 2)), strict=True):
            np.testing.assert_array_equal(frame.view().image, view.image)
            np.testing.assert_allclose(frame.camera.c2w, view.camera.c2w, atol=1e-9)
            np.testing.assert_allclose(frame.camera.K, view.camera.K)


@pytest.mark.parametrize("model", ("sparse", "colmap/sparse/0", "."))
def test_places_of_a_model(scene, model):
    assert len(open_sequence(scene(write_binary, model=model)).frames) == 4


@WRITERS
def test_as_scenes_and_as_a_rig(scene, write):
    root = scene(write, names=("left/0.png", "left/1.png", "right/0.png", "right/1.png"))
    scenes = open_scenes(f"colmap:{root.parent}")
    assert list(scenes.names) == ["scene"] and len(scenes.frames(0)) == 4
    assert {frame.camera_name for frame in open_scenes(f"colmap:{root}?camera=left").frames(0)} == {"left"}
    assert [len(group) for group in open_sequence(root).instants()] == [2, 2]


@pytest.mark.parametrize(
    ("model", "parameters"),
    (
        ("SIMPLE_RADIAL", (20.0, 11.3, 9.4, 0.1)),
        ("OPENCV", (20.0, 20.0, 11.3, 9.4, 0.1, 0.0, 0.0, 0.0)),
        ("FULL_OPENCV", (20.0, 20.0, 11.3, 9.4, 0.1, *[0.0] * 7)),
    ),
)
def test_models_of_the_same_lens(scene, model, parameters):
    K = open_sequence(scene(write_binary, (model, (24, 18), parameters))).frames[0].camera.K
    lens = undistort(intrinsics(20, 20, 11.3, 9.4), [0.1, 0, 0, 0, 0], "plumb_bob", 24, 18, "test")
    assert not np.isclose(K[0, 0], 20, atol=0.1)
    np.testing.assert_allclose(K, lens.K, atol=1e-3)


def test_a_shrunk_copy(scene):
    root = scene(write_text, ("SIMPLE_PINHOLE", (48, 36), (40.0, 22.6, 18.8)))
    (root / "images").rename(root / "images_2")
    np.testing.assert_allclose(open_sequence(root).frames[0].camera.K, [[20, 0, 11.3], [0, 20, 9.4], [0, 0, 1]])


def test_the_larger_of_two_models(scene, caplog):
    root = scene(write_text)
    (root / "sparse/1").mkdir()
    write_text(root / "sparse/1", PINHOLE, [("a.png", (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0))])
    with caplog.at_level(logging.WARNING):
        assert len(open_sequence(root).frames) == 4
    assert "not read are" in caplog.text and "(1 images)" in caplog.text


@pytest.mark.parametrize(
    ("camera", "message"),
    (
        (("FOV", (24, 18), (20.0, 20.0, 12.0, 9.0, 0.5)), "camera 7: camera_model 'FOV' cannot be read"),
        (("PINHOLE", (24, 18), (20.0, 20.0, 12.0)), "camera 7 has 3 parameters, PINHOLE has 4"),
        (("PINHOLE", (25, 18), (20.0, 20.0, 12.0, 9.0)), "24x18 pixels, the COLMAP camera 25x18"),
    ),
)
def test_wrong_cameras(scene, camera, message):
    with pytest.raises(InvalidRequest, match=message):
        open_sequence(scene(write_text, camera))


@WRITERS
@pytest.mark.parametrize("name", ("cameras", "images"))
def test_truncated(scene, write, name):
    model = scene(write) / "sparse/0"
    file = next(model.glob(f"{name}.*"))
    file.write_bytes(file.read_bytes()[:30])
    with pytest.raises(InvalidRequest, match=rf"{file.name}: "):
        open_sequence(model)


def test_missing_images(scene, tmp_path):
    root = scene(write_binary)
    (root / "images/c.png").unlink()
    with pytest.raises(InvalidRequest, match="c.png does not exist; the COLMAP model has a pose of it"):
        open_sequence(root)
    (root / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(InvalidRequest, match="a COLMAP model is in .*, but .*images/a.png does not exist"):
        open_sequence(root)
    with pytest.raises(InvalidRequest, match="no COLMAP model"):
        read_colmap(tmp_path / "elsewhere")
