# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth messages: raw, compressed, registered, of another lens; what is no depth is named."""

from __future__ import annotations

import re
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from gld_ros.data.depth_messages import depth, depth_of_camera
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.distortion import Pinhole
from gld_ros.geometry.points import reprojected
from gld_ros.geometry.se3 import look_at

MILLIMETRES = np.random.default_rng(2).integers(300, 9000, (12, 16)).astype(np.uint16)
MILLIMETRES[:2, :5], MILLIMETRES[4, 3:], MILLIMETRES[7, 7] = 0, 0, 65535
METRES = np.where((MILLIMETRES > 0) & (MILLIMETRES < 65535), MILLIMETRES / 1000, np.nan).astype(np.float32)


def raw(pixels: np.ndarray, encoding: str, padding: int = 0) -> SimpleNamespace:
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return SimpleNamespace(
        height=len(pixels), width=pixels.shape[1], encoding=encoding, is_bigendian=0, step=data.shape[1],
        data=data.tobytes(),
    )  # fmt: skip


def compressed(body: bytes, text: str, a: float = 0.0, b: float = 0.0) -> SimpleNamespace:
    return SimpleNamespace(format=text, data=struct.pack("<iff", 0, a, b) + body)


def png(steps: np.ndarray) -> bytes:
    return cv2.imencode(".png", steps)[1].tobytes()


def rvl(pixels: np.ndarray) -> bytes:
    """As in Wilson's paper, a number at a time."""
    nibbles: list[int] = []

    def number(value: int) -> None:
        while value >= 8:
            nibbles.append(8 | (value & 7))
            value >>= 3
        nibbles.append(value)

    values, at, before = pixels.ravel().astype(int).tolist(), 0, 0
    while at < len(values):
        for empty in (True, False):
            start = at
            while at < len(values) and (values[at] == 0) == empty:
                at += 1
            number(at - start)
        for value in values[start:at]:
            number((value - before) * 2 if value >= before else (before - value) * 2 - 1)
            before = value
    nibbles += [0] * (-len(nibbles) % 8)
    words = [sum(n << (28 - 4 * k) for k, n in enumerate(nibbles[i : i + 8])) for i in range(0, len(nibbles), 8)]
    return struct.pack(f"<II{len(words)}I", pixels.shape[1], pixels.shape[0], *words)


@pytest.mark.parametrize("padding", (0, 8))
@pytest.mark.parametrize("encoding", ("16UC1", "mono16", "32FC1"))
def test_raw_depth_with_padded_rows(encoding, padding):
    pixels = METRES if encoding == "32FC1" else MILLIMETRES
    np.testing.assert_allclose(depth(raw(pixels, encoding, padding), "depth"), METRES, rtol=1e-6)


def test_what_is_out_of_range_is_unknown():
    given = np.array([[0.0, -1.0, np.inf, -np.inf, np.nan, 2.5]], np.float32)
    np.testing.assert_array_equal(depth(raw(given, "32FC1"), "depth"), [[np.nan] * 5 + [2.5]])


@pytest.mark.parametrize("text", ("16UC1; compressedDepth png", "16UC1; compressedDepth", "16UC1; compressedDepth rvl"))
def test_compressed_millimetres(text):
    body = rvl(MILLIMETRES) if "rvl" in text else png(MILLIMETRES)
    np.testing.assert_allclose(depth(compressed(body, text), "depth"), METRES, rtol=1e-6)


def test_png_of_the_plain_transport():
    plain = SimpleNamespace(format="16UC1; png compressed ", data=png(MILLIMETRES))
    np.testing.assert_allclose(depth(plain, "depth"), METRES, rtol=1e-6)


@pytest.mark.parametrize("codec", ("png", "rvl"))
def test_quantised_inverse_depth(codec):
    """As compressed_depth_image_transport writes 32FC1, with its defaults depth_max 10 and depth_quantization 100."""
    a = 100.0 * 101.0
    b = 1 - a / 10.0
    known = np.isfinite(METRES)
    steps = np.where(known, a / np.where(known, METRES, 1) + b, 0).astype(np.uint16)
    read = depth(compressed((rvl if codec == "rvl" else png)(steps), f"32FC1; compressedDepth {codec}", a, b), "depth")
    np.testing.assert_array_equal(np.isfinite(read), known)
    np.testing.assert_allclose(read[known], METRES[known], rtol=2e-3)


@pytest.mark.parametrize(
    ("given", "reason"),
    (
        (raw(np.zeros((12, 16), np.uint8), "mono8"), "encoding 'mono8', expected is one of 16UC1, 32FC1, mono16, or"),
        (raw(METRES[:5], "32FC1"), None),
        (compressed(b"", "16UC1; compressedDepth png"), "its 12 bytes cannot be read"),
        (SimpleNamespace(format="16UC1; compressedDepth", data=b"abc"), "its 3 bytes cannot be read"),
        (compressed(png(MILLIMETRES)[:90], "16UC1; compressedDepth png"), "cannot be read"),
        (compressed(png(MILLIMETRES.astype(np.uint8)), "16UC1; compressedDepth png"), "no picture of 16 bits"),
        (compressed(rvl(MILLIMETRES)[:60], "16UC1; compressedDepth rvl"), "it is cut off"),
        (compressed(struct.pack("<II", 1 << 16, 1 << 16), "16UC1; compressedDepth rvl"), "65536x65536 pixels"),
        (compressed(struct.pack("<II", 4, 4), "16UC1; compressedDepth rvl"), "it is cut off"),
        (SimpleNamespace(format="16UC1; jpeg compressed ", data=b""), "compressedDepth or png of 16 bits is expected"),
        (SimpleNamespace(format="jpeg", data=b""), "encoding 'jpeg', expected is one of 16UC1"),
    ),
)
def test_what_is_no_depth_is_named(given, reason):
    if reason is None:
        given.height, reason = 12, "16x12 pixels of 32FC1 with step 64 do not fit into 320 bytes"
    with pytest.raises(InvalidRequest, match="^'/depth': ") as error:
        depth(given, "'/depth'")
    assert re.search(reason, str(error.value)), error.value


def wall_and_box(camera: Camera) -> np.ndarray:
    """(H, W) z-depth that `camera`, which may only be shifted, sees of a wall at z = 4 and of a box before it at 2."""
    x, y = (np.arange(n) + 0.5 for n in (camera.width, camera.height))
    u = (x - camera.K[0, 2]) / camera.K[0, 0] * 2 + camera.center[0]
    v = (y - camera.K[1, 2]) / camera.K[1, 1] * 2 + camera.center[1]
    box = (np.abs(v)[:, None] < 0.4) & (np.abs(u)[None] < 0.4)
    return np.where(box, 2.0, 4.0).astype(np.float32)


def shifted(x: float, K: np.ndarray, width: int, height: int) -> Camera:
    c2w = np.eye(4)
    c2w[0, 3] = x
    return Camera(K, c2w, width, height)


@pytest.mark.parametrize("size", ((160, 120), (80, 60), (320, 240)))
def test_depth_of_another_camera_is_reprojected(size):
    """The nearest surface wins; what the depth camera did not see is unknown."""
    target = shifted(0.0, intrinsics(150, 150, 80, 60), 160, 120)
    camera = shifted(0.3, intrinsics(150 * size[0] / 160, 150 * size[0] / 160, size[0] / 2, size[1] / 2), *size)
    found, true = reprojected(wall_and_box(camera), camera, target), wall_and_box(target)
    known = np.isfinite(found)
    assert known[:, 13:37].mean() > 0.97 and known[:, 52:].mean() > 0.97
    # Columns that lie outside the depth camera's picture, and a strip of the wall that the box hides from it.
    assert not known[:, :10].any() and not known[35:85, 41:48].any()
    edge = cv2.dilate((cv2.Laplacian(true, cv2.CV_32F) != 0).astype(np.uint8), np.ones((5, 5))) > 0
    assert np.abs(found - true)[known & ~edge].max() < 1e-4


def test_depth_far_from_the_origin_keeps_its_precision():
    far = np.eye(4)
    far[:3, 3] = (455_000.0, 5_411_000.0, 430.0)
    target = shifted(0.0, intrinsics(150, 150, 80, 60), 160, 120)
    camera = shifted(0.01, target.K, 160, 120)
    found = reprojected(np.full((120, 160), 3.0, np.float32), camera.moved(far @ camera.c2w), target.moved(far))
    assert np.nanmax(np.abs(found - 3)) < 1e-5


def test_depth_of_the_same_camera_stays_as_it_is():
    camera = Camera(intrinsics(20, 20, 8, 6), look_at(np.array([0.3, 1, 2]), np.zeros(3)), 16, 12)
    lens = Pinhole(camera.K, 16, 12, None)
    for own, c2w in ((None, None), (lens, camera.c2w)):
        read = depth_of_camera(raw(MILLIMETRES, "16UC1"), "depth", lens, camera, own, c2w)
        np.testing.assert_allclose(read, METRES, rtol=1e-6)


def test_registered_depth_of_another_resolution():
    camera = Camera(intrinsics(40, 40, 16, 12), np.eye(4), 32, 24)
    lens = Pinhole(camera.K, 32, 24, None)
    read = depth_of_camera(raw(MILLIMETRES, "16UC1"), "depth", lens, camera)
    np.testing.assert_allclose(read, METRES.repeat(2, 0).repeat(2, 1), rtol=1e-6)
    with pytest.raises(InvalidRequest, match="registered depth .*: 16x9 pixels, 32x24 expected, or that field of view"):
        depth_of_camera(raw(MILLIMETRES[:9], "16UC1"), "depth", lens, camera)
    with pytest.raises(InvalidRequest, match="16x12 pixels, its calibration says 32x24"):
        depth_of_camera(raw(MILLIMETRES, "16UC1"), "depth", lens, camera, lens)


def test_a_focal_length_that_cannot_be_costs_no_memory():
    target = Camera(intrinsics(150, 150, 80, 60), np.eye(4), 160, 120)
    camera = Camera(intrinsics(1e-6, 1e-6, 8, 6), np.eye(4), 16, 12)
    assert reprojected(METRES, camera, target).shape == (120, 160)
