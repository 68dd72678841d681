# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""transforms.json as other tools write it: camera models, paths, depth, orientation, stamps, other projections."""

from __future__ import annotations

import codecs
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders.exports import write_exr
from PIL import Image

from gld_ros.data.bag_writer import write_bag
from gld_ros.data.formats.transforms_json import read_folder
from gld_ros.data.sequence import Frame, open_sequence
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL
from gld_ros.geometry.distortion import undistort

LENS = {"k1": 0.1, "k2": -0.03, "k3": 0.01, "k4": -0.002}
RATIONAL = {"k1": 0.5, "k2": 0.1, "k3": 0.02, "k4": 0.8, "k5": 0.2, "k6": 0.05}


def edit(folder: Path, frame: dict | None = None, **common) -> Path:
    """Update the file's keys, and those of every frame; None removes a key."""
    file = folder / "transforms.json"
    content = json.loads(file.read_text())
    for target, changes in [(content, common), *((entry, frame or {}) for entry in content["frames"])]:
        target.update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del target[key]
    file.write_text(json.dumps(content))
    return folder


def first(folder: Path, frame: dict | None = None, **common) -> Frame:
    return read_folder(edit(folder, frame, **common)).frames[0]


@pytest.mark.parametrize("keys", ({"is_fisheye": True, "camera_model": None}, {"is_fisheye": True}))
def test_the_flag_says_the_same_as_the_name(folder, keys):
    named = first(folder, camera_model="OPENCV_FISHEYE", **LENS)
    image, K = named.read_image(), named.camera.K
    edit(folder, camera_model="PINHOLE")
    flagged = first(folder, **keys)
    np.testing.assert_array_equal(flagged.camera.K, K)
    np.testing.assert_array_equal(flagged.read_image(), image)


def test_a_flag_that_is_false_is_the_polynomial(folder):
    polynomial = first(folder, camera_model="OPENCV", k1=0.1).camera.K
    np.testing.assert_array_equal(first(folder, camera_model=None, is_fisheye=False).camera.K, polynomial)


def test_a_fisheye_without_coefficients_is_bent_too(folder):
    """An equidistant lens is no pinhole: theta is not tan(theta)."""
    image = first(folder).read_image()
    frame = first(folder, camera_model="OPENCV_FISHEYE", k1=0, k2=0, k3=0, k4=0)
    assert (frame.read_image() != image).any() and frame.camera.K[0, 0] < 20


@pytest.mark.parametrize("name", ("FULL_OPENCV", "full_opencv"))
def test_the_rational_model(folder, name):
    K = np.array([[20.0, 0, 11.3], [0, 21.0, 9.4], [0, 0, 1]]) - HALF_PIXEL
    D = np.array([0.5, 0.1, 0.001, -0.002, 0.02, 0.8, 0.2, 0.05])
    image = np.array(Image.open(folder / "images/000.png"))
    frame = first(folder, camera_model=name, p1=0.001, p2=-0.002, **RATIONAL)
    new, _ = cv2.getOptimalNewCameraMatrix(K, D, (24, 18), alpha=0)
    maps = cv2.initUndistortRectifyMap(K, D, np.eye(3), new, (24, 18), cv2.CV_32FC1)
    np.testing.assert_allclose(frame.camera.K, new + HALF_PIXEL)
    np.testing.assert_array_equal(frame.read_image(), cv2.remap(image, *maps, cv2.INTER_LINEAR))


def test_a_thin_prism_without_prism_is_the_fisheye(folder):
    fisheye = first(folder, camera_model="OPENCV_FISHEYE", **LENS).camera.K
    np.testing.assert_array_equal(first(folder, camera_model="THIN_PRISM_FISHEYE").camera.K, fisheye)
    image = first(folder).read_image()
    assert (first(folder, p1=0.02, p2=-0.01, sx1=0.03, sy1=0.01).read_image() != image).any()


def test_a_thin_prism_shows_what_its_formula_says():
    D = (0.1, -0.03, 0.01, -0.002, 0.02, -0.01, 0.03, 0.01)
    K = np.array([[200.0, 0, 120], [0, 210, 90], [0, 0, 1]])
    lens = undistort(K, D, "thin_prism_fisheye", 240, 180, "test")
    assert lens.maps is not None
    row, column = 130, 40
    x, y, _ = np.linalg.inv(lens.K) @ (column + 0.5, row + 0.5, 1)
    theta, angle = np.arctan(np.hypot(x, y)), np.arctan2(y, x)
    u, v = theta * np.cos(angle), theta * np.sin(angle)
    radial = sum(k * theta ** (2 * power) for power, k in enumerate(D[:4], start=1))
    u_bent = u * (1 + radial) + 2 * D[4] * u * v + D[5] * (theta**2 + 2 * u * u) + D[6] * theta**2
    v_bent = v * (1 + radial) + 2 * D[5] * u * v + D[4] * (theta**2 + 2 * v * v) + D[7] * theta**2
    found = [table[row, column] + 0.5 for table in lens.maps]
    np.testing.assert_allclose(found, (200 * u_bent + 120, 210 * v_bent + 90), atol=1e-3)
    for table, size in zip(lens.maps, (240, 180), strict=True):  # nothing that was not seen
        assert table.min() >= 0 and table.max() <= size - 1


@pytest.mark.parametrize(
    ("keys", "message"),
    (
        ({"camera_model": "OPENCV", "k4": 0.8}, "frame 0: k4 is 0.8, and camera_model OPENCV has only .*FULL_OPENCV"),
        ({"camera_model": None, "k4": 0.8}, "k4 is 0.8"),
        ({"camera_model": "OPENCV_FISHEYE", "p1": 0.1}, "p1 is 0.1, and camera_model OPENCV_FISHEYE has only k1, k2"),
        ({"camera_model": "OPENCV", "sx1": 0.1}, "sx1 is 0.1"),
        ({"skew": 2.0}, "skew is 2"),
        ({"camera_model": "EQUIRECTANGULAR"}, "camera_model 'EQUIRECTANGULAR' cannot be read, one of .*PINHOLE"),
        ({"camera_model": "ORTHOPHOTO"}, "'ORTHOPHOTO' cannot be read"),
        ({"camera_model": "OPENCV", "is_fisheye": True}, "is_fisheye is true and camera_model 'OPENCV'"),
        ({"camera_model": "OPENCV_FISHEYE", "is_fisheye": False}, "contradict"),
        ({"is_fisheye": "yes"}, "is_fisheye is 'yes'"),
        ({"latlong": True}, "latlong is True"),
        ({"ftheta_p1": 0.2}, "ftheta_p1 is 0.2"),
        ({"rolling_shutter": [0, 0, 0.1, 0]}, "rolling_shutter"),
        ({"k7": 0.1}, "k7 is 0.1"),
        ({"b1": 0.1}, "b1 is 0.1"),
        ({"gamma": 2.2}, "transforms.json: keys that seem to change rays or pixels, .* cannot be read: gamma; k1, k2,"),
        ({"xi": 0.9, "flip_y": True}, "cannot be read: flip_y, xi;"),
        ({"crop_left": 3}, "cannot be read: crop_left;"),
    ),
)
def test_what_no_pinhole_can_be_made_of_is_refused(folder, keys, message):
    with pytest.raises(InvalidRequest, match=message):
        first(folder, **keys)


def test_keys_that_are_not_used_are_named(folder, caplog):
    with caplog.at_level(logging.WARNING):
        first(
            folder, {"colmap_im_id": 3, "wobble": 1}, aabb_scale=16, rolling_shutter=[0, 0, 0, 0], k9=0, crop_top=None
        )
    assert [record.message for record in caplog.records] == [
        f"{folder}/transforms.json: keys that are not used: k9, wobble"
    ]


def test_intrinsics_of_a_frame_win_over_a_field_of_view_of_the_file(folder):
    np.testing.assert_allclose(first(folder, camera_angle_x=1.0, k1=0.0).camera.K[0, 0], 20)
    without = {key: None for key in ("fl_x", "fl_y")}
    K = first(folder, without, camera_angle_x=np.pi / 2, camera_angle_y=2 * np.arctan(0.5)).camera.K
    np.testing.assert_allclose((K[0, 0], K[1, 1]), (12, 18))
    np.testing.assert_allclose(first(folder, {"x_fov": 90}, camera_angle_x=1.0, camera_angle_y=None).camera.K[0, 0], 12)
    with pytest.raises(InvalidRequest, match="x_fov is 190"):
        first(folder, {"x_fov": 190})


@pytest.mark.parametrize("mark", (codecs.BOM_UTF8, codecs.BOM_UTF16_LE))
def test_a_byte_order_mark(folder, mark):
    file = folder / "transforms.json"
    coding = "utf-8" if mark == codecs.BOM_UTF8 else "utf-16-le"
    file.write_bytes(mark + file.read_text().encode(coding))
    assert len(open_sequence(folder).frames) == 4


def test_paths_of_windows(folder, views):
    file = folder / "transforms.json"
    file.write_text(file.read_text().replace("images/", "images\\\\").replace("depth/", ".\\\\depth\\\\"))
    assert "images\\" in json.loads(file.read_text())["frames"][0]["file_path"]
    for frame, view in zip(open_sequence(folder).frames, views, strict=True):
        np.testing.assert_array_equal(frame.view().image, view.image)
        np.testing.assert_allclose(frame.view().depth, view.depth, atol=1e-6)
    Image.fromarray(views[0].image[::-1]).save(folder / "images\\000.png")  # its name does hold a backslash
    np.testing.assert_array_equal(open_sequence(folder).frames[0].view().image, views[0].image[::-1])
    (folder / "images\\000.png").unlink()
    (folder / "images").rename(folder / "images_2")
    assert open_sequence(edit(folder, {"w": 48, "h": 36})).frames[1].camera.width == 24


@pytest.mark.parametrize(("size", "dtype"), (((8, 6), np.uint16), ((48, 36), np.uint16), ((12, 9), np.uint8)))
def test_depth_of_another_size_of_the_same_view(folder, size, dtype):
    small = np.arange(1, size[0] * size[1] + 1).reshape(size[1], size[0]) % 200
    Image.fromarray(small.astype(dtype)).save(folder / "depth/000.png")
    depth = first(folder).view().depth
    rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in ((18, size[1]), (24, size[0])))
    expected = small[rows.astype(int)[:, None], columns.astype(int)] / 1000
    np.testing.assert_allclose(depth, np.where(expected > 0, expected, np.nan), rtol=1e-6)


@pytest.mark.parametrize("name", ("metres.npy", "half.npy", "metres.tiff", "metres.exr", "millimetres.npy"))
def test_depth_of_floats_and_arrays(folder, views, name):
    depth = np.where(np.isnan(views[0].depth), -1, views[0].depth).astype(np.float32)
    depth[5, 5:7] = np.inf, 0
    if name.endswith("tiff"):
        Image.fromarray(depth).save(folder / name)
    elif name.endswith("exr"):
        write_exr(folder / name, depth)
    else:
        depths = {"metres": depth, "half": depth[..., None].astype(np.float16), "millimetres": depth * 1000}
        np.save(folder / name, depths[name[:-4]])
    unit = 0.001 if name.startswith("milli") else 1
    expected = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)
    read = first(folder, {"depth_file_path": name}, depth_unit_scale_factor=unit).view().depth
    np.testing.assert_allclose(read, expected, rtol=1e-3)
    with pytest.raises(InvalidRequest, match=f"{name}: holds floats, and depth_unit_scale_factor"):
        first(folder, depth_unit_scale_factor=None).view()


@pytest.mark.parametrize("content", (b"no array", b"\x93NUMPY\x01\x00"))
def test_a_damaged_array(folder, content):
    (folder / "depth.npy").write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"depth.npy: not a readable .npy"):
        first(folder, {"depth_file_path": "depth.npy"}).view()


def _portrait(folder: Path, image: np.ndarray, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(folder / "images/000.png", exif=exif)
    return folder


def test_images_are_not_decoded_before_they_are_asked_for(folder):
    (folder / "images/002.png").write_bytes((folder / "images/002.png").read_bytes()[:300])
    assert len(read_folder(folder).frames) == 4


def test_orientation_of_phones(folder, views):
    """Turned where the stated size says so; as stored where that fits already."""
    image = views[0].image
    for orientation, turns in ((6, 1), (8, -1)):
        stored = np.ascontiguousarray(np.rot90(image, turns))
        np.testing.assert_array_equal(first(_portrait(folder, stored, orientation)).view().image, image)
    for orientation in (3, 6):
        np.testing.assert_array_equal(first(_portrait(folder, image, orientation)).view().image, image)
    with pytest.raises(InvalidRequest, match="24x18 or, turned by its EXIF orientation, 18x24 pixels, .* says 25x18"):
        first(folder, {"w": 25})


@pytest.mark.parametrize(
    ("stamp", "unit", "nanoseconds"),
    (
        (1403636579763555584, "ns", 1403636579763555584),
        (1403636579763555, "us", 1403636579763555000),
        (1403636579.5, "ms", 1403636579500000),
        (1.5, "s", 1500000000),
    ),
)
def test_units_of_stamps(folder, stamp, unit, nanoseconds):
    assert first(folder, {"timestamp": stamp}, timestamp_unit=unit).stamp == nanoseconds


@pytest.mark.parametrize("stamp", (1403636579763555584, 1403636579763555, 1403636579763, 2**31, -0.5))
def test_stamps_that_are_no_seconds(folder, stamp):
    with pytest.raises(InvalidRequest, match=f"frame 0: timestamp is {stamp} s, seconds from 0 up to 2.31"):
        first(folder, {"timestamp": stamp})
    with pytest.raises(InvalidRequest, match="timestamp_unit is 'minutes', one of s, ms, us, ns"):
        first(folder, timestamp_unit="minutes")


def test_a_bag_that_failed_leaves_no_folder(folder, tmp_path):
    (folder / "images/002.png").write_bytes((folder / "images/002.png").read_bytes()[:300])
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="002.png"):
            write_bag(open_sequence(folder), tmp_path / "bag")
        assert not (tmp_path / "bag").exists()
