# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Undistortion on the way in: straight lines of the world are straight in the image again."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from gld_ros.data.formats.transforms_json import read_folder
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.distortion import undistort

K = np.array([[200.0, 0, 160.5], [0, 200.0, 120.5], [0, 0, 1]])
HALF = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
D = {"plumb_bob": [-0.25, 0.05, 0.001, -0.002, 0.0], "fisheye": [0.1, -0.05, 0.01, 0.0]}


@pytest.mark.parametrize("model", tuple(D))
def test_a_point_lands_where_the_pinhole_says(model):
    """A dot drawn where the distorted lens sees a point is moved to where the new K projects that point."""
    point = np.array([[[0.3, -0.2, 1.0]]])
    arguments = (np.zeros(3), np.zeros(3), K - HALF, np.array(D[model]))
    project = cv2.fisheye.projectPoints if model == "fisheye" else cv2.projectPoints
    u, v = project(point, *arguments)[0].ravel()
    rows, columns = np.mgrid[:240, :320]
    blob = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 8)
    pinhole = undistort(K, D[model], model, 320, 240, "test")
    seen = pinhole.apply(np.repeat(blob[..., None], 3, axis=2).astype(np.uint8), "test")[..., 0].astype(float)
    found = np.array([(columns * seen).sum(), (rows * seen).sum()]) / seen.sum() + 0.5  # corner convention
    x, y, z = pinhole.K @ point.ravel()
    np.testing.assert_allclose(found, (x / z, y / z), atol=0.3)


def test_a_lens_that_sees_backwards_is_refused():
    def lens(focal):
        K = np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1]])
        return undistort(K, [1e-9, 0, 0, 0], "equidistant", 640, 480, "front")

    for degrees in (85.1, 90.3, 100):
        with pytest.raises(InvalidRequest, match="front: the lens sees 85 degrees or more from its axis"):
            lens(320 / np.radians(degrees))
    assert lens(320 / np.radians(75)).K[0, 2] == pytest.approx(320, abs=5)


def test_folder_with_distortion(folder):
    file = folder / "transforms.json"
    content = json.loads(file.read_text()) | {"k1": -0.2}
    file.write_text(json.dumps(content))
    image = np.zeros((18, 24, 3), np.uint8)
    image[:, :, 0] = 255
    Image.fromarray(image).save(folder / "images/000.png")
    view = read_folder(folder).frames[0].view()
    assert not np.allclose(view.camera.K[0, 0], 20) and (view.image[..., 0] > 250).all()  # no black border


def test_unknown_model():
    with pytest.raises(InvalidRequest, match="test: unknown distortion model 'bent'"):
        undistort(K, [0.1], "bent", 320, 240, "test")
