# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The image encodings of sensor_msgs/image_encodings.hpp and the conversions between them."""

import re
from typing import NamedTuple

import cv2
import numpy as np


class CvBridgeError(TypeError):
    """An encoding that is unknown, does not fit the data, or cannot be converted as asked."""


class Encoding(NamedTuple):
    """dtype and channels of one pixel; `colour` is OpenCV's name of the colour space, None for plain numbers."""

    dtype: np.dtype
    channels: int
    colour: str | None


_U8, _U16 = np.dtype("u1"), np.dtype("u2")
# OpenCV names a Bayer pattern by the second and third pixel of its second row, ROS by the 2x2 pixels it starts with.
_RGB_ORDERS = ("RGB", "BGR", "RGBA", "BGRA")
_BAYER = {"rggb": "BayerBG", "bggr": "BayerRG", "gbrg": "BayerGR", "grbg": "BayerGB"}
NAMED = {
    "yuv422": Encoding(_U8, 2, "UYVY"),
    "uyvy": Encoding(_U8, 2, "UYVY"),
    "yuv422_yuy2": Encoding(_U8, 2, "YUY2"),
    "yuyv": Encoding(_U8, 2, "YUY2"),
}
for _bits, _dtype in ((8, _U8), (16, _U16)):
    NAMED[f"mono{_bits}"] = Encoding(_dtype, 1, "GRAY")
    NAMED |= {f"{colour.lower()}{_bits}": Encoding(_dtype, len(colour), colour) for colour in _RGB_ORDERS}
    NAMED |= {f"bayer_{name}{_bits}": Encoding(_dtype, 1, colour) for name, colour in _BAYER.items()}

_GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C(\d+))?")
_DTYPES = {"8U": "u1", "8S": "i1", "16U": "u2", "16S": "i2", "32S": "i4", "32F": "f4", "64F": "f8"}


def parse(name: str) -> Encoding:
    """The encoding called `name`; CvBridgeError if there is none."""
    if name in NAMED:
        return NAMED[name]
    if match := _GENERIC.fullmatch(name):
        return Encoding(np.dtype(_DTYPES[match[1]]), int(match[2] or 1), None)
    raise CvBridgeError(f"Unrecognized image encoding [{name}]")


def generic_name(array: np.ndarray) -> str:
    """The plain encoding, such as 8UC3, of an (H, W) or (H, W, C) array."""
    native = array.dtype.newbyteorder("=")
    channels = 1 if array.ndim == 2 else array.shape[2]
    for name, dtype in _DTYPES.items():
        if native == np.dtype(dtype):
            return f"{name}C{channels}"
    raise CvBridgeError(f"no image encoding holds numbers of type {array.dtype}")


def convert(image: np.ndarray, source: str, target: str) -> np.ndarray:
    """`image` of encoding `source` in encoding `target`: colour first, then depth (8 <-> 16 bit are scaled)."""
    if source == target:
        return image
    old, new = parse(source), parse(target)
    if old.colour is None and new.colour is not None:
        raise CvBridgeError(f"[{source}] is not a color format, but [{target}] is")
    if new.colour is None:
        if old.channels != new.channels:
            raise CvBridgeError(f"[{source}] and [{target}] do not have the same number of channels")
    elif old.colour != new.colour:
        image = _recolour(image, source, old.colour, target, new.colour)
    return _redepth(image, old.dtype, new.dtype)


def _recolour(image: np.ndarray, source: str, old: str | None, target: str, new: str | None) -> np.ndarray:
    code = f"COLOR_YUV2{new}_{old}" if old in ("UYVY", "YUY2") else f"COLOR_{old}2{new}"
    if not hasattr(cv2, code):
        raise CvBridgeError(f"no conversion from [{source}] to [{target}]")
    return cv2.cvtColor(image, getattr(cv2, code))


def _redepth(image: np.ndarray, old: np.dtype, new: np.dtype) -> np.ndarray:
    if old == new:
        return image
    factor = {(1, 2): 65535 / 255, (2, 1): 255 / 65535}.get((old.itemsize, new.itemsize), 1.0)
    if new.kind == "f":
        return image.astype(new)
    limits = np.iinfo(new)
    return np.clip(np.rint(image * factor), limits.min, limits.max).astype(new)
