# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images of every encoding, with and without padded rows; what is no picture is named."""

from __future__ import annotations

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from builders.encodings import is_wide, packed, stored

from gld_ros.data.camera_messages import ENCODINGS, FULL_RANGE, Levels, picture, value_range
from gld_ros.errors import InvalidRequest

RGB = cv2.resize(np.random.default_rng(3).integers(60, 190, (2, 2, 3), dtype=np.uint8), (16, 12))
GREY = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)


def message(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> SimpleNamespace:
    return SimpleNamespace(height=12, width=16, **packed(pixels, encoding, 12, padding, big))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("padding", (0, 6))
def test_every_encoding(encoding, padding):
    pixels = stored(RGB, encoding)
    wide = is_wide(encoding)
    for big in (False, True) if wide else (False,):
        given = message(pixels.astype(np.uint16) * 257 if wide else pixels, encoding, padding, big)
        read = picture(given, "image")
        assert read.shape == (12, 16, 3) and read.dtype == np.uint8 and read.flags.writeable
        if encoding.startswith(("mono", "8UC1")):
            np.testing.assert_array_equal(read, np.repeat(GREY[..., None], 3, axis=2))
        elif encoding.startswith(("bayer", "nv", "yu", "uy")):
            assert np.abs(read[2:-2, 2:-2].astype(int) - RGB[2:-2, 2:-2]).mean() < 12
        else:
            np.testing.assert_array_equal(read, RGB)


@pytest.mark.parametrize("codec", (".jpg", ".png"))
def test_compressed_pictures(codec):
    for pixels, expected in ((RGB[..., ::-1], RGB), (GREY, np.repeat(GREY[..., None], 3, 2))):
        data = cv2.imencode(codec, np.ascontiguousarray(pixels))[1].tobytes()
        read = picture(SimpleNamespace(format="", data=data), "image")
        assert np.abs(read.astype(int) - expected).mean() < (1e-9 if codec == ".png" else 8)


def test_a_given_range_of_16_bit_values():
    counts = (7400 + 3 * GREY.astype(np.uint16)).astype(np.uint16)
    given = message(counts, "mono16")
    low, high = value_range(given)
    assert 7400 <= low < high <= 7400 + 3 * 255
    np.testing.assert_allclose(picture(given, "image", (7400, 7400 + 3 * 255))[..., 0], GREY, atol=1)
    assert value_range(message(RGB, "rgb8")) is None
    png = SimpleNamespace(format="mono16; png compressed", data=cv2.imencode(".png", counts)[1].tobytes())
    assert value_range(png) == (low, high)


def test_the_range_of_a_topic_grows_with_its_values():
    def counts(low, high):
        return message(np.linspace(low, high, 192).reshape(12, 16).astype(np.uint16), "mono16")

    levels = Levels()
    assert levels.add(counts(7400, 7900)) and not levels.add(counts(7390, 7930))  # within a tenth
    found = levels.levels
    assert 7390 <= found[0] <= 7410 and 7890 <= found[1] <= 7910 and "use 2 of 256 grey levels" in str(levels)
    assert levels.add(counts(7500, 9000)) and levels.levels == (found[0], pytest.approx(9000, abs=10))
    assert levels.add(counts(0, 60000)) and levels.levels == FULL_RANGE
    assert not levels.add(counts(7400, 7900)) and not levels.add(message(RGB, "rgb8"))
    given = Levels((100, 200))
    assert not given.add(counts(0, 60000)) and given.levels == (100, 200)


def test_a_compressed_mosaic_keeps_its_colours():
    data = cv2.imencode(".png", stored(RGB, "bayer_grbg8"))[1].tobytes()
    read = picture(SimpleNamespace(format="bayer_grbg8; png compressed ", data=data), "image")
    np.testing.assert_array_equal(read, picture(message(stored(RGB, "bayer_grbg8"), "bayer_grbg8"), "image"))


@pytest.mark.parametrize(
    ("given", "reason"),
    (
        (message(GREY.astype(np.uint16), "16UC1"), "encoding '16UC1': that is depth; .* mono8 or mono16"),
        (message(GREY.astype(np.float32), "32FC1"), "encoding '32FC1': that is depth"),
        (message(RGB, "yuv_jpeg"), "encoding 'yuv_jpeg': one of rgb8, .*nv12.* is expected"),
        (message(RGB[:, :8], "rgb8"), "16x12 pixels of rgb8 with step 24 do not fit into 288 bytes; a step of 48"),
        (message(RGB[:9], "rgb8"), "with step 48 do not fit into 432 bytes; .* step x 12 bytes"),
        (message(GREY, "nv12"), "16x12 pixels of nv12 with step 16 do not fit into 192 bytes; .* step x 18 bytes"),
        (SimpleNamespace(format="h264", data=bytes(50)), "encoding 'h264': frames of a video"),
        (SimpleNamespace(format="16UC1; compressedDepth png", data=bytes(50)), "compressedDepth.* it is depth"),
        (SimpleNamespace(format="jpeg", data=b"no picture"), "encoding 'jpeg': no codec can read its 10 bytes"),
        (SimpleNamespace(format="png", data=b""), "no codec can read its 0 bytes"),
    ),
)
def test_what_is_no_picture_is_named(given, reason):
    with pytest.raises(InvalidRequest, match="^'/cam/image': ") as error:
        picture(given, "'/cam/image'")
    assert re.search(reason, str(error.value)), error.value
