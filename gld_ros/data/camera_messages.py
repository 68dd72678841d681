# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of cameras as pictures and pinholes: the same functions for bags and live topics.

Image, CompressedImage and CameraInfo of rclpy, of rosbags and of ROS 1 bags have the same fields; nothing of ROS is
imported here. Encodings: sensor_msgs/image_encodings.hpp.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, Camera
from gld_ros.geometry.distortion import Pinhole, undistort

MAX_CAMERA_SIDE = 8192  # pixels; bounds the time and memory that the undistortion tables of one CameraInfo may take
FULL_RANGE = (0, 65535)
NARROW = 65536 // 4  # a range of 16-bit values below this would use fewer than 64 of 256 grey levels
SAMPLED = 10_000  # pixels of an image that its range is found from
VIDEO = ("h264", "h265", "hevc", "av1", "vp8", "vp9", "ffmpeg")


class _Encoding(NamedTuple):
    """dtype and channels of the stored numbers; `to_rgb` is cv2's conversion; rows stored for each of the picture."""

    dtype: str
    channels: int
    to_rgb: int | None = None
    rows: float = 1.0


_COLOURS = {
    "rgb": (3, None), "bgr": (3, cv2.COLOR_BGR2RGB), "rgba": (4, cv2.COLOR_RGBA2RGB), "bgra": (4, cv2.COLOR_BGRA2RGB),
    "mono": (1, cv2.COLOR_GRAY2RGB),
    # cv2 names a Bayer pattern by the second and third pixel of its second row, ROS by the 2x2 pixels it begins with.
    "bayer_rggb": (1, cv2.COLOR_BayerBG2RGB), "bayer_bggr": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg": (1, cv2.COLOR_BayerGR2RGB), "bayer_grbg": (1, cv2.COLOR_BayerGB2RGB),
}  # fmt: skip
_UYVY, _YUYV = _Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY), _Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUY2)
ENCODINGS = {f"{name}{8 * size}": _Encoding(f"u{size}", *how) for name, how in _COLOURS.items() for size in (1, 2)}
ENCODINGS |= {
    "uyvy": _UYVY, "yuv422": _UYVY, "yuyv": _YUYV, "yuv422_yuy2": _YUYV,
    "nv12": _Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV12, 1.5), "nv21": _Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV21, 1.5),
    # Names that OpenCV gives to plain arrays: of grey pictures, and of colour ones in its own order.
    "8UC1": ENCODINGS["mono8"], "8UC3": ENCODINGS["bgr8"], "8UC4": ENCODINGS["bgra8"],
}  # fmt: skip
DEPTH_ENCODINGS = {"16UC1": _Encoding("u2", 1), "32FC1": _Encoding("f4", 1)}  # depth_messages.py reads them


def encoding_of(message: Any) -> str:
    """The encoding of an Image, the format of a CompressedImage."""
    return message.format if hasattr(message, "format") else message.encoding


def picture(message: Any, name: str, levels: tuple[int, int] = FULL_RANGE) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an Image or CompressedImage.

    levels: the 16-bit values that become 0 and 255. JPEG pixels stay as they are stored (EXIF does not turn them),
    alpha is dropped. Raises InvalidRequest, naming `name`, for encodings that are no picture and for broken data.
    """
    kind = encoding_of(message)
    try:
        if hasattr(message, "format"):
            stored, encoding = _decompressed(message, name)
        else:
            if kind not in ENCODINGS:
                raise InvalidRequest(f"{name}: cannot decode an image of encoding '{kind}': {_no_picture(kind)}")
            encoding = ENCODINGS[kind]
            stored = stored_values(message, encoding, name)
        # A view of the message must not get out: it may be changed, or cannot be written to.
        rgb = stored.copy() if encoding.to_rgb is None else cv2.cvtColor(stored, encoding.to_rgb)
    except cv2.error as error:
        raise InvalidRequest(f"{name}: cannot decode an image of encoding '{kind}': {error}") from None
    return rgb if rgb.dtype == np.uint8 else _eight_bits(rgb, levels)


def value_range(message: Any) -> tuple[int, int] | None:
    """Lowest and highest value of a 16-bit picture but for a thousandth of its pixels each; None for other pictures."""
    encoding = ENCODINGS.get(encoding_of(message).split(";")[0].strip())
    if encoding is None or encoding.dtype != "u2":
        return None
    try:
        if hasattr(message, "format"):
            values = _decompressed(message, "")[0]
        else:
            values = stored_values(message, encoding, "")
    except (InvalidRequest, cv2.error):  # it will be refused when it is read
        return None
    values = values.ravel()
    low, high = np.percentile(values[:: max(values.size // SAMPLED, 1)], (0.1, 99.9))
    return int(low), int(np.ceil(high))


def stored_values(message: Any, encoding: _Encoding, name: str) -> np.ndarray:
    """(rows, W) or (rows, W, C) numbers of an Image, rows without padding, native byte order."""
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if message.is_bigendian else "<")
    width, height, step = message.width, message.height, message.step
    row, rows, size = width * encoding.channels * dtype.itemsize, int(height * encoding.rows), len(message.data)
    if width < 1 or height < 1 or step < row or size < step * rows:
        raise InvalidRequest(
            f"{name}: {width}x{height} pixels of {message.encoding} with step {step} do not fit into {size} bytes; a "
            f"step of {row} or more and step x {rows} bytes are expected"
        )
    padded = np.frombuffer(message.data, np.uint8, step * rows).reshape(rows, step)
    values = np.ascontiguousarray(padded[:, :row]).view(dtype).astype(np.dtype(encoding.dtype), copy=False)
    return values.reshape(rows, width, encoding.channels) if encoding.channels > 1 else values


def _decompressed(message: Any, name: str) -> tuple[np.ndarray, _Encoding]:
    kind = message.format
    if any(codec in kind.lower() for codec in VIDEO):
        reason = "frames of a video need those before them; publish JPEG or PNG"
    elif "compressedDepth" in kind:
        reason = "it is depth, a picture is expected"
    else:
        data = np.frombuffer(message.data, np.uint8)
        stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if stored is not None and stored.dtype in (np.uint8, np.uint16):
            colour = "mono" if stored.ndim == 2 else {3: "bgr", 4: "bgra"}[stored.shape[2]]
            return stored, ENCODINGS[f"{colour}{8 * stored.dtype.itemsize}"]
        reason = f"no codec can read its {data.size} bytes"
    raise InvalidRequest(f"{name}: cannot decode an image of encoding '{kind}': {reason}")


def _no_picture(encoding: str) -> str:
    if encoding in DEPTH_ENCODINGS:
        return "that is depth; a grey picture is called mono8 or mono16"
    return f"one of {', '.join(ENCODINGS)} is expected"


def _eight_bits(values: np.ndarray, levels: tuple[int, int]) -> np.ndarray:
    low, high = levels
    scaled = (values.astype(np.float32) - low) * (255 / max(high - low, 1))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def camera_model(info: Any, rectified: bool = False, name: str = "camera_info") -> Pinhole:
    """The pinhole of a CameraInfo: K and D for a raw image, P for a `rectified` one; ROI and binning are applied.

    Cached per content, as every image brings its own message. Raises InvalidRequest, naming `name`, for sizes, K, P or
    a ROI that cannot be and for an unknown distortion model.
    """
    roi = (info.roi.x_offset, info.roi.y_offset, info.roi.width or info.width, info.roi.height or info.height)
    binning = (max(info.binning_x, 1), max(info.binning_y, 1))
    K = _numbers(info, "p").reshape(3, 4)[:, :3] if rectified else _numbers(info, "k")
    D = () if rectified or not _numbers(info, "d").any() else tuple(_numbers(info, "d").tolist())
    try:
        return _camera_model(tuple(K.ravel()), D, info.distortion_model, info.width, info.height, roi, binning)
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {error}") from None


def _numbers(info: Any, field: str) -> np.ndarray:
    """A field of CameraInfo; ROS 1 writes its name in capitals."""
    return np.asarray(getattr(info, field) if hasattr(info, field) else getattr(info, field.upper()), dtype=np.float64)


@lru_cache(maxsize=32)
def _camera_model(
    K: tuple[float, ...],
    D: tuple[float, ...],
    distortion_model: str,
    width: int,
    height: int,
    roi: tuple[int, int, int, int],
    binning: tuple[int, int],
) -> Pinhole:
    full = Camera(np.reshape(K, (3, 3)) + HALF_PIXEL, np.eye(4), width, height).check("CameraInfo")
    if max(width, height) > MAX_CAMERA_SIDE:
        raise InvalidRequest(f"CameraInfo: size {width}x{height}, at most {MAX_CAMERA_SIDE} a side are taken")
    if roi[0] + roi[2] > width or roi[1] + roi[3] > height:
        raise InvalidRequest(f"CameraInfo: roi (x, y, width, height) {roi} does not lie within {width}x{height}")
    window = full.cropped(*roi)
    camera = window.resized(window.width // binning[0], window.height // binning[1]).check("CameraInfo")
    return undistort(camera.K, D, distortion_model, camera.width, camera.height, "CameraInfo")
