# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sequence folders: what is written comes back, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gld_ros.data.formats.transforms_json import read_folder
from gld_ros.data.scenes import open_scenes
from gld_ros.data.sequence import FIRST_STAMP, OPENGL_TO_OPENCV, open_sequence, write_folder
from gld_ros.errors import InvalidRequest


def edit(folder: Path, change) -> Path:
    """Apply `change` to the content of transforms.json."""
    content = json.loads((folder / "transforms.json").read_text())
    change(content)
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def test_round_trip(folder, views):
    sequence = open_sequence(folder)
    assert sequence.metric is True and sequence.camera_names == ["camera"] and sequence.has_depth
    for frame, view in zip(sequence.frames, views, strict=True):
        read = frame.view()
        np.testing.assert_array_equal(read.image, view.image)
        np.testing.assert_allclose(read.depth, view.depth, atol=1e-6)
        np.testing.assert_allclose(read.camera.c2w, view.camera.c2w, atol=1e-12)
        np.testing.assert_allclose(read.camera.K, view.camera.K)
        assert read.stamp == view.stamp
    with pytest.raises(InvalidRequest, match="already"):
        write_folder(folder, views)


def test_poses_are_opengl_in_the_file(folder, views):
    matrix = json.loads((folder / "transforms.json").read_text())["frames"][1]["transform_matrix"]
    np.testing.assert_allclose(np.array(matrix)[:3, 2], -views[1].camera.forward)  # OpenGL looks along -z


def test_two_cameras_share_their_times(tmp_path, views):
    folder = write_folder(tmp_path / "stereo", views, camera_names=["left", "left", "right", "right"], metric=None)

    def indices(content):
        for entry, index in zip(content["frames"], (0, 1, 0, 1), strict=True):
            del entry["timestamp"]
            entry["time_index"] = index

    sequence = read_folder(edit(folder, indices))
    assert sequence.camera_names == ["left", "right"]
    assert [[frame.camera_name for frame in frames] for frames in sequence.instants()] == [["left", "right"]] * 2
    assert sequence.frames[0].stamp == FIRST_STAMP


@pytest.mark.parametrize("metric", (True, False))
def test_metric_key_wins(folder, metric):
    sequence = read_folder(edit(folder, lambda content: content.update(metric=metric)))
    assert sequence.metric is metric


def test_metric_is_unknown_without_key_and_depth(tmp_path, views):
    folder = write_folder(tmp_path / "plain", views, metric=None)

    def drop(content):
        for entry in content["frames"]:
            del entry["depth_file_path"]

    assert read_folder(edit(folder, drop)).metric is None


def test_grey_images_become_rgb(folder):
    grey8, grey16 = np.arange(18 * 24).reshape(18, 24) % 256, np.arange(18 * 24).reshape(18, 24) * 150
    Image.fromarray(grey8.astype(np.uint8)).save(folder / "images/000.png")
    Image.fromarray(grey16.astype(np.uint16)).save(folder / "images/001.png")
    frames = read_folder(folder).frames
    for frame, expected in ((frames[0], grey8), (frames[1], grey16 >> 8)):
        np.testing.assert_array_equal(frame.view().image, np.repeat(expected[..., None], 3, axis=2))


def test_instant_ngp_style(folder):
    """Field of view instead of focal length, no cx, cy, w, h."""

    def change(content):
        content["camera_angle_x"] = np.pi / 2
        for entry in content["frames"]:
            for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
                del entry[key]

    K = read_folder(edit(folder, change)).frames[0].camera.K
    np.testing.assert_allclose(K, [[12, 0, 12], [0, 12, 9], [0, 0, 1]])


@pytest.mark.parametrize(
    ("change", "message"),
    (
        (lambda c: c["frames"][1].pop("transform_matrix"), "frame 1: transform_matrix"),
        (lambda c: c["frames"][1].update(transform_matrix=np.full((4, 4), np.nan).tolist()), "frame 1: pose holds NaN"),
        (lambda c: c["frames"][1].update(transform_matrix=np.eye(2).tolist()), r"shape \(2, 2\)"),
        (lambda c: c["frames"][1].update(transform_matrix=(OPENGL_TO_OPENCV * -1).tolist()), "frame 1"),
        (lambda c: c["frames"][2].update(fl_x=0), "fx=0"),
        (lambda c: c["frames"][2].update(fl_x="wide"), "fl_x is 'wide'"),
        (lambda c: c["frames"][2].update(w=25), "24x18 pixels, transforms.json says 25x18"),
        (lambda c: c["frames"][2].update(file_path="images/none.png"), "none.png does not exist"),
        (lambda c: c["frames"][2].pop("file_path"), "frame 2: file_path is missing"),
        (lambda c: c["frames"][2].update(depth_file_path="depth/none.png"), "depth_file_path: .*does not exist"),
        (lambda c: c["frames"][2].update(timestamp="noon"), "timestamp is 'noon'"),
        (lambda c: c["frames"][2].update(timestamp=None), "timestamp is None"),
        (lambda c: c["frames"][2].update(time_index="x"), "frame 2: time_index is 'x'"),
        (lambda c: c["frames"][2].update(w=None), "frame 2: w is None"),
        (lambda c: c["frames"][2].update(h="tall"), "frame 2: h is 'tall'"),
        (lambda c: c.update(depth_unit_scale_factor=None), "frame 0: depth_unit_scale_factor is None"),
        (lambda c: c.update(frames=[]), "holds no frames"),
        (lambda c: c.update(frames=3), "holds no frames"),
    ),
)
def test_errors_name_file_and_frame(folder, change, message):
    with pytest.raises(InvalidRequest, match=message) as error:
        read_folder(edit(folder, change))
    assert str(folder) in str(error.value)


def test_truncated_json(folder):
    file = folder / "transforms.json"
    file.write_text(file.read_text()[:-40])
    with pytest.raises(InvalidRequest, match="transforms.json: not valid JSON.*truncated"):
        open_sequence(folder)


@pytest.mark.parametrize(
    "damage",
    (
        lambda data: data[:300],
        lambda data: data[:11] + b"\0" + data[12:],  # the length of a PNG's header: ValueError
        lambda data: data[:35] + b"\0" + data[36:],  # of its pixels: SyntaxError
    ),
)
def test_truncated_or_damaged_image(folder, damage):
    file = folder / "images/002.png"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InvalidRequest, match="002.png: not a readable image"):
        read_folder(folder).frames[2].view()


def test_an_image_too_large_to_decode(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InvalidRequest, match="000.png: not a readable image .*decompression bomb"):
        read_folder(folder)


def test_depth_of_another_size(folder):
    Image.fromarray(np.ones((5, 5), np.uint16)).save(folder / "depth/000.png")
    with pytest.raises(InvalidRequest, match="000.png: 5x5 pixels, 24x18 expected"):
        read_folder(folder).frames[0].view()


def test_neither_folder_nor_bag(tmp_path):
    with pytest.raises(
        InvalidRequest,
        match=r"no sequence; its files are none of transforms.json \(nerfstudio\); sparse/0/.*; metadata.yaml, ",
    ):
        open_sequence(tmp_path)
    with pytest.raises(InvalidRequest, match="no such file"):
        open_sequence(tmp_path / "missing")


def test_folders_of_sequences(folder, views):
    write_folder(folder.parent / "rest/other", views)
    with pytest.raises(InvalidRequest, match="2 scenes, such as rest/other; one sequence is expected"):
        open_sequence(folder.parent)
    assert len(open_sequence(folder.parent / "rest").frames) == 4  # the only one in it
    assert open_scenes(str(folder.parent)).names == ["rest/other", "sequence"]


@pytest.mark.parametrize(
    ("name", "instants", "cameras", "depth"),
    (
        ("amazon_box", 25, 1, True),
        ("slambook_dorm", 5, 1, True),
        ("tum_fr3_office", 16, 1, False),
        ("fox", 50, 1, False),
        ("fountain_p11", 11, 1, False),
        ("kitti_drive_a", 51, 2, False),
        ("t265_rosbag2", 3, 2, False),
    ),
)
def test_real_sequences(real_data, name, instants, cameras, depth):
    sequence = open_sequence(real_data(name))
    groups = sequence.instants()
    assert len(groups) == instants and {len(group) for group in groups} == {cameras}
    view = sequence.frames[0].view()
    assert view.image.shape == (view.camera.height, view.camera.width, 3)
    assert (view.depth is not None) is depth


@pytest.mark.parametrize("distorted", (False, True))
def test_only_a_shrunk_copy_of_the_images(tmp_path, views, distorted):
    """DL3DV and nerfstudio: w, h and K of `images/`, but only `images_4/` on the disk."""
    folder = write_folder(tmp_path / "full", views)
    (folder / "images").rename(folder / "images_4")

    def enlarge(content):
        content.update(camera_model="OPENCV", k1=0.1 if distorted else 0)
        for entry in content["frames"]:
            entry.update(w=4 * 24 + 2, h=4 * 18 + 1, fl_x=4 * entry["fl_x"])

    frame = read_folder(edit(folder, enlarge)).frames[1]
    assert (frame.camera.width, frame.camera.height) == (24, 18)
    if not distorted:
        np.testing.assert_allclose(frame.camera.K[0, 0], 4 * views[1].camera.K[0, 0] * 24 / 98)
        np.testing.assert_array_equal(frame.view().image, views[1].image)
    with pytest.raises(InvalidRequest, match="000.png: 24x18 pixels, transforms.json says 90x73"):
        read_folder(edit(folder, lambda content: content["frames"][0].update(w=90)))
