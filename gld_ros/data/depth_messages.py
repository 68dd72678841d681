# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of depth sensors as depth of the colour camera: the same functions for bags and live topics.

Encodings: REP 118, and compressed_depth_image_transport of ROS's image_transport_plugins (a header of 12 bytes, then
PNG or RVL); RVL: Wilson, Fast Lossless Depth Image Compression, 2017.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from gld_ros.data.camera_messages import DEPTH_ENCODINGS, ENCODINGS, encoding_of, stored_values
from gld_ros.data.reading import MILLIMETRE, resized_depth
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.distortion import Pinhole
from gld_ros.geometry.points import reprojected

_STORED = DEPTH_ENCODINGS | {"mono16": ENCODINGS["mono16"]}
_HEADER = struct.Struct("<iff")  # of compressedDepth: its format, and two parameters of the quantisation
_SATURATED = 65535  # of 16 bits: beyond the range
MOST_PIXELS = 2**26  # of one depth image


def depth_of_camera(
    message: Any, name: str, colour: Pinhole, camera: Camera, own: Pinhole | None = None, c2w: np.ndarray | None = None
) -> np.ndarray:
    """(H, W) float32 metres of a depth message in the pixels of a colour camera, NaN unknown.

    colour: the lens of the colour camera, camera: its pinhole at the pose of the picture. own: the lens of the depth
    camera; None where depth is registered to the colour camera: in the pixels of its raw picture, perhaps fewer or
    more of them. c2w: (4, 4) pose of the depth camera when it measured; None: that of `camera`. Depth of another lens
    or pose is reprojected, the nearest surface wins. Raises InvalidRequest as `depth`, and for another size than the
    calibration says.
    """
    measured = depth(message, name)
    if own is None:
        size = (colour.width, colour.height)
        measured = resized_depth(measured, f"{name}: registered depth (it has no CameraInfo of its own)", size)
    lens = own or colour
    placed = Camera(lens.K, camera.c2w, lens.width, lens.height) if c2w is None else lens.camera(c2w)
    return reprojected(lens.apply(measured, name), placed, camera)


def depth(message: Any, name: str) -> np.ndarray:
    """(h, w) float32 metres of a depth Image or CompressedImage; NaN where it is 0, not finite or saturated (REP 118).

    Raises InvalidRequest, naming `name`, for encodings that are no depth and for broken data.
    """
    encoding = encoding_of(message).split(";")[0].strip()
    if encoding not in _STORED:
        raise InvalidRequest(
            f"{name}: depth of encoding '{encoding_of(message)}', expected is one of {', '.join(_STORED)}, or a "
            "CompressedImage of such by compressedDepth"
        )
    if hasattr(message, "format"):
        raw = _decompressed(message, encoding, name)
    else:
        raw = stored_values(message, _STORED[encoding], name)
    metres = raw.astype(np.float32) * np.float32(MILLIMETRE if raw.dtype == np.uint16 else 1)
    known = np.isfinite(metres) & (metres > 0) & ~((raw.dtype == np.uint16) & (raw == _SATURATED))
    return np.where(known, metres, np.nan).astype(np.float32)


def _decompressed(message: Any, encoding: str, name: str) -> np.ndarray:
    """(h, w) uint16 millimetres, or float32 metres."""
    data, codec = bytes(message.data), message.format.partition(";")[2]
    bare = "compressedDepth" not in codec  # a PNG of 16 bits, as image_transport's `compressed` makes it
    if bare and not ("png" in codec and encoding != "32FC1"):
        raise InvalidRequest(
            f"{name}: depth of format '{message.format}', compressedDepth or png of 16 bits is expected"
        )
    try:
        _, a, b = (0, 0.0, 0.0) if bare else _HEADER.unpack_from(data)
        body = data if bare else data[_HEADER.size :]
        png = "rvl" not in codec.lower()
        steps = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED) if png else _rvl(body)
        if steps is None or steps.dtype != np.uint16 or steps.ndim != 2:
            raise ValueError("no picture of 16 bits and one channel")
    except (ValueError, struct.error, cv2.error) as error:
        raise InvalidRequest(
            f"{name}: depth of format '{message.format}': its {len(data)} bytes cannot be read ({error})"
        ) from None
    if encoding != "32FC1":
        return steps
    with np.errstate(divide="ignore"):
        return np.where(steps > 0, np.float32(a) / (steps.astype(np.float32) - np.float32(b)), np.nan)


def _rvl(data: bytes) -> np.ndarray:
    """(h, w) uint16 of RVL: runs of zeros, then of differences, in numbers of 3 bits and one that says "go on".

    Raises ValueError for data that are cut off or have more pixels than a picture.
    """
    width, height = struct.unpack_from("<II", data)
    if not 0 < width * height <= MOST_PIXELS:
        raise ValueError(f"{width}x{height} pixels")
    words = np.frombuffer(data, "<u4", (len(data) - 8) // 4, offset=8)
    nibbles = ((words[:, None] >> np.arange(28, -1, -4, dtype=np.uint32)) & 15).ravel().astype(np.int64)
    ends = np.flatnonzero(nibbles < 8)
    nibbles = nibbles[: ends[-1] + 1 if len(ends) else 0]  # the last number may be cut off
    starts = np.concatenate([[0], ends + 1])[: len(ends)]
    places = np.minimum(3 * (np.arange(len(nibbles)) - np.repeat(starts, ends - starts + 1)), 60)
    numbers = np.add.reduceat((nibbles & 7) << places, starts) if len(ends) else nibbles
    measured, is_difference = np.zeros(width * height, bool), np.zeros(len(numbers), bool)
    at = read = 0
    while at < len(measured):
        zeros, count = numbers[read : read + 2].tolist() if read + 1 < len(numbers) else (0, len(measured) + 1)
        at, read = at + zeros, read + 2
        if at + count > len(measured) or read + count > len(numbers):
            raise ValueError("it is cut off, or has more pixels than it says")
        measured[at : at + count] = is_difference[read : read + count] = True
        at, read = at + count, read + count
    differences = numbers[is_difference]
    pixels = np.zeros(len(measured), np.uint16)
    pixels[measured] = np.cumsum((differences >> 1) ^ -(differences & 1))
    return pixels.reshape(height, width)
