# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the package expects of cv_bridge, be it a ROS distribution's or the one in pip_ros/."""

import array

import cv2
import numpy as np
import pytest
from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

BRIDGE = CvBridge()
RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


def message(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> Image:
    """An Image whose rows carry `padding` bytes of garbage at their ends."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).reshape(height, -1).view(np.uint8)
    rows = np.concatenate([rows, np.full((height, padding), 0xAB, np.uint8)], axis=1)
    out = Image(height=height, width=width, encoding=encoding, step=rows.shape[1], is_bigendian=int(big))
    out.data = array.array("B", rows.tobytes())
    return out


GREY = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6) * 7
PASSTHROUGH = {
    "mono8": GREY,
    "mono16": GREY.astype(np.uint16) * 250,
    "rgb8": RGB,
    "bgr8": RGB,
    "rgba8": np.dstack([RGB, GREY]),
    "bgra8": np.dstack([RGB, GREY]),
    "rgb16": RGB.astype(np.uint16) * 257,
    "8UC1": GREY,
    "8UC3": RGB,
    "16UC1": GREY.astype(np.uint16) * 250,
    "16SC1": GREY.astype(np.int16) - 50,
    "32SC1": GREY.astype(np.int32) - 50,
    "32FC1": GREY.astype(np.float32) / 3,
    "32FC3": RGB.astype(np.float32) / 3,
    "64FC1": GREY.astype(np.float64) / 3,
    "bayer_rggb8": GREY,
    "bayer_grbg16": GREY.astype(np.uint16) * 250,
    "yuv422": GREY.reshape(4, 3, 2),
    "yuv422_yuy2": GREY.reshape(4, 3, 2),
}


@pytest.mark.parametrize("padding", [0, 24])  # a multiple of every pixel's size, as the original demands
@pytest.mark.parametrize("encoding", PASSTHROUGH)
def test_passthrough_keeps_numbers_and_drops_row_padding(encoding, padding):
    pixels = PASSTHROUGH[encoding]
    image = BRIDGE.imgmsg_to_cv2(message(pixels, encoding, padding))
    assert image.dtype == pixels.dtype
    np.testing.assert_array_equal(image, pixels)


def test_padding_that_is_no_multiple_of_a_pixel():
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message(GREY, "mono8", padding=5)), GREY)


@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "32FC1"])
def test_big_endian(encoding):
    pixels = PASSTHROUGH[encoding]
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message(pixels, encoding, big=True)), pixels)


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.dstack([RGB, GREY])),
        ("bgra8", np.dstack([RGB[..., ::-1], GREY])),
        ("rgb16", RGB.astype(np.uint16) * 257),
        ("bgr16", RGB[..., ::-1].astype(np.uint16) * 257),
    ],
)
@pytest.mark.parametrize("padding", [0, 24])
def test_colours_become_rgb8(encoding, pixels, padding):
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message(pixels, encoding, padding), "rgb8"), RGB)


def test_grey_becomes_colour_and_colour_grey():
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message(GREY, "mono8"), "rgb8"), np.dstack([GREY] * 3))
    grey = BRIDGE.imgmsg_to_cv2(message(RGB, "rgb8"), "mono8")
    np.testing.assert_allclose(grey, RGB @ np.array([0.299, 0.587, 0.114]), atol=1)


def test_mono16_is_scaled_to_8_bits():
    image = BRIDGE.imgmsg_to_cv2(message(GREY.astype(np.uint16) * 257, "mono16"), "mono8")
    np.testing.assert_array_equal(image, GREY)
    image = BRIDGE.imgmsg_to_cv2(message(GREY.astype(np.uint16) * 257, "mono16"), "rgb8")
    np.testing.assert_array_equal(image, np.dstack([GREY] * 3))


def test_8_bits_are_scaled_to_mono16():
    image = BRIDGE.imgmsg_to_cv2(message(GREY, "mono8"), "mono16")
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, GREY.astype(np.uint16) * 257)


@pytest.mark.parametrize(("encoding", "order"), [("yuv422", (1, 0)), ("yuv422_yuy2", (0, 1))])
def test_yuv422(encoding, order):
    """Neutral chroma gives grey, at any luma; order: (luma, chroma) within a pixel's two bytes."""
    luma = np.full((4, 6), 128, np.uint8)
    pixels = np.zeros((4, 6, 2), np.uint8)
    pixels[..., order[0]], pixels[..., order[1]] = luma, 128
    image = BRIDGE.imgmsg_to_cv2(message(pixels, encoding, padding=4), "rgb8")
    np.testing.assert_allclose(image, np.full((4, 6, 3), (128 - 16) * 255 / 219), atol=2)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(pattern, bits):
    """A mosaic of one colour gives that colour back."""
    colour = {"r": 200, "g": 120, "b": 40}
    cell = np.array([colour[letter] for letter in pattern]).reshape(2, 2)
    mosaic = np.tile(cell, (4, 5)).astype(np.uint8 if bits == 8 else np.uint16) * (1 if bits == 8 else 257)
    image = BRIDGE.imgmsg_to_cv2(message(mosaic, f"bayer_{pattern}{bits}"), "rgb8")
    np.testing.assert_allclose(image[2:-2, 2:-2], np.broadcast_to([200, 120, 40], (4, 6, 3)), atol=1)


@pytest.mark.parametrize(
    ("encoding", "wanted"), [("16UC1", "rgb8"), ("32FC1", "mono8"), ("rgb8", "8UC1"), ("no_such", "rgb8")]
)
def test_what_makes_no_sense_is_an_error(encoding, wanted):
    with pytest.raises(CvBridgeError):
        BRIDGE.imgmsg_to_cv2(message(PASSTHROUGH.get(encoding, GREY), encoding), wanted)


def test_colour_as_plain_numbers():
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message(RGB, "rgb8"), "8UC3"), RGB)


@pytest.mark.parametrize("encoding", ["rgb8", "32FC1"])
def test_too_few_bytes_are_an_error(encoding):
    short = message(PASSTHROUGH[encoding], encoding)
    short.data = short.data[:-1]
    with pytest.raises((CvBridgeError, TypeError)):
        BRIDGE.imgmsg_to_cv2(short)


@pytest.mark.parametrize("encoding", ["mono8", "mono16", "rgb8", "bgra8", "16UC1", "32FC1", "bayer_rggb8"])
def test_there_and_back(encoding):
    pixels = PASSTHROUGH[encoding]
    header = Header(frame_id="camera")
    header.stamp.sec = 7
    out = BRIDGE.cv2_to_imgmsg(pixels, encoding, header)
    assert (out.header, out.encoding, out.height, out.width) == (header, encoding, 4, 6)
    assert out.step * out.height == len(out.data) == pixels.nbytes
    assert out.is_bigendian == 0
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(out), pixels)


def test_to_message_without_an_encoding_names_the_plain_one():
    assert BRIDGE.cv2_to_imgmsg(RGB).encoding == "8UC3"
    assert BRIDGE.cv2_to_imgmsg(GREY.astype(np.float32)).encoding == "32FC1"


@pytest.mark.parametrize(("pixels", "encoding"), [(GREY, "rgb8"), (RGB, "mono8"), (RGB, "rgb16"), (GREY, "32FC1")])
def test_to_message_with_an_encoding_that_does_not_fit(pixels, encoding):
    with pytest.raises(CvBridgeError):
        BRIDGE.cv2_to_imgmsg(pixels, encoding)


def test_to_message_takes_arrays_only():
    with pytest.raises(TypeError):
        BRIDGE.cv2_to_imgmsg([[1, 2]], "mono8")


def test_compressed_png_is_exact_and_bgr():
    out = BRIDGE.cv2_to_compressed_imgmsg(RGB[..., ::-1], "png")
    assert isinstance(out, CompressedImage) and out.format == "png"
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(out), RGB[..., ::-1])
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(out, "rgb8"), RGB)


def test_compressed_keeps_grey_and_16_bits():
    deep = GREY.astype(np.uint16) * 250
    for pixels in (GREY, deep):
        image = BRIDGE.compressed_imgmsg_to_cv2(BRIDGE.cv2_to_compressed_imgmsg(pixels, "png"))
        assert image.dtype == pixels.dtype
        np.testing.assert_array_equal(image, pixels)


def test_compressed_jpeg_is_close():
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)
    image = BRIDGE.compressed_imgmsg_to_cv2(BRIDGE.cv2_to_compressed_imgmsg(smooth), "bgr8")
    assert np.abs(image.astype(int) - smooth).mean() < 4


def test_bytes_that_are_no_image():
    broken = CompressedImage(format="jpeg", data=array.array("B", b"no image at all"))
    assert BRIDGE.compressed_imgmsg_to_cv2(broken) is None
