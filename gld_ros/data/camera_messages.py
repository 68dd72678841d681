# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of cameras as pictures and pinholes: the same functions for bags and live topics.

Image, CompressedImage and CameraInfo of rclpy, of rosbags and of ROS 1 bags have the same fields; nothing of ROS is
imported here. Encodings: sensor_msgs/image_encodings.hpp.
"""

from __future__ import annotations

from dataclasses import replace
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
SLACK = 0.1  # of a range: how far values may lie outside before it grows
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
    "nv24": _Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV12, 3),
    # Names that OpenCV gives to plain arrays: of grey pictures, and of colour ones in its own order.
    "8UC1": ENCODINGS["mono8"], "8UC3": ENCODINGS["bgr8"], "8UC4": ENCODINGS["bgra8"],
    "16UC3": ENCODINGS["bgr16"], "16UC4": ENCODINGS["bgra16"],
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
        rgb = stored.copy() if encoding.to_rgb is None else _converted(stored, encoding)
    except cv2.error as error:
        raise InvalidRequest(f"{name}: cannot decode an image of encoding '{kind}': {error}") from None
    return rgb if rgb.dtype == np.uint8 else _eight_bits(rgb, levels)


class Levels:
    """The 16-bit values that become black and white in the images of one topic: the same for all of them, so that they
    stay comparable.

    given: (low, high). None finds them: everything, or the range of the values where that would use few grey levels,
    as those of a thermal camera do. The range grows when an image exceeds it by more than a tenth.
    """

    def __init__(self, given: tuple[int, int] | None = None) -> None:
        self._given, self._range = given, given

    def add(self, message: Any) -> bool:
        """Take an image into account; True where `levels` are other ones now."""
        if self._given or not (values := value_range(message)):
            return False
        before = self.levels
        low, high = self._range or values
        slack = SLACK * (high - low)
        if self._range is None or values[0] < low - slack or values[1] > high + slack:
            self._range = min(low, values[0]), max(high, values[1])
        return self.levels != before

    @property
    def levels(self) -> tuple[int, int]:
        """(low, high), for `picture`."""
        low, high = self._range or FULL_RANGE
        return (low, high) if self._given or high - low < NARROW else FULL_RANGE

    def __str__(self) -> str:
        low, high = self.levels
        few = f"its 16-bit values use {(high - low) // 257 + 1} of 256 grey levels; " if high - low < NARROW else ""
        return f"{few}in all images {low} becomes black and {high} white"


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
    if encoding.rows == 3:  # the padding of its rows of colours, which are twice as long, is at their ends
        colours = padded[height:].reshape(height, 2 * step)[:, : 2 * width].reshape(2 * height, width)
        padded = np.concatenate([padded[:height, :width], colours])
    values = np.ascontiguousarray(padded[:, :row]).view(dtype).astype(np.dtype(encoding.dtype), copy=False)
    return values.reshape(rows, width, encoding.channels) if encoding.channels > 1 else values


def _converted(stored: np.ndarray, encoding: _Encoding) -> np.ndarray:
    assert encoding.to_rgb is not None
    if encoding.rows < 3:
        return cv2.cvtColor(stored, encoding.to_rgb)
    # nv24 has a colour for every pixel, as nv12 of twice the size has.
    luma, colours = np.split(stored, (len(stored) // 3,))
    doubled = np.concatenate([luma.repeat(2, axis=0).repeat(2, axis=1), colours.reshape(len(luma), -1)])
    return cv2.cvtColor(doubled, encoding.to_rgb)[::2, ::2].copy()


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
            mosaic = kind.split(";")[0].strip()  # image_transport compresses it as it is
            colour = "mono" if stored.ndim == 2 else {3: "bgr", 4: "bgra"}[stored.shape[2]]
            same = mosaic.startswith("bayer_") and mosaic in ENCODINGS and colour == "mono"
            return stored, ENCODINGS[mosaic if same else f"{colour}{8 * stored.dtype.itemsize}"]
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


def camera_model(info: Any, rectified: bool = False, name: str = "camera_info", shares_frame: bool = False) -> Pinhole:
    """The pinhole of a CameraInfo: K and D for a raw image, P for a `rectified` one; ROI and binning are applied.

    shares_frame: the first camera of a stereo pair has the same frame, so that this one is where P[0,3] and P[1,3] say.
    Cached per content, as every image brings its own message. Raises InvalidRequest, naming `name`, for a camera that
    is not calibrated, for sizes, K, P or a ROI that cannot be, for an unknown distortion model, and for raw images
    where only the poses of rectified ones are known.
    """
    roi = (info.roi.x_offset, info.roi.y_offset, info.roi.width or info.width, info.roi.height or info.height)
    binning = (max(info.binning_x, 1), max(info.binning_y, 1))
    K = _P(info)[:, :3] if rectified else _numbers(info, "k")
    D = () if rectified or not _numbers(info, "d").any() else tuple(_numbers(info, "d").tolist())
    try:
        if reason := unusable(info, rectified, shares_frame):
            raise InvalidRequest(f"CameraInfo: {reason}")
        aside = beside_first(info) if shares_frame else (0.0, 0.0)
        return _camera_model(tuple(K.ravel()), D, info.distortion_model, info.width, info.height, roi, binning, aside)
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {error}") from None


def unusable(info: Any, rectified: bool = False, shares_frame: bool = False) -> str:
    """Why a CameraInfo that is well-formed gives no pinhole; empty if it does. Arguments: as of `camera_model`."""
    if not (_P(info)[:, :3] if rectified else _numbers(info, "k")).any():  # as drivers send it until then
        return f"{'P' if rectified else 'K'} is all zeros, as of a camera that is not calibrated"
    right, below = beside_first(info)
    if shares_frame and (right or below) and not (rectified or is_rectified(info)):
        return (
            f"P puts rectified images {right:.3f} m to the right of and {below:.3f} m below the origin of their frame; "
            "these are raw: send rectified ones, or give the camera a frame of its own"
        )
    return ""


def is_rectified(info: Any) -> bool:
    """True for a CameraInfo that says that the images are rectified: no distortion, no rotation, P is K."""
    K, D, R = (_numbers(info, field) for field in "kdr")
    turned = R.any() and not np.allclose(R, np.eye(3).ravel())
    return not D.any() and not turned and np.allclose(K.reshape(3, 3), _P(info)[:, :3])


def beside_first(info: Any) -> tuple[float, float]:
    """Metres by which a camera is to the right of and below the first one of its stereo pair; (0, 0) for that one.

    P[0,3] = -fx * baseline, as CameraInfo defines it, and the same of P[1,3].
    """
    P = _P(info)
    return (float(-P[0, 3] / P[0, 0]), float(-P[1, 3] / P[1, 1])) if P[0, 0] and P[1, 1] else (0.0, 0.0)


def _P(info: Any) -> np.ndarray:
    return _numbers(info, "p").reshape(3, 4)


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
    aside: tuple[float, float],
) -> Pinhole:
    full = Camera(np.reshape(K, (3, 3)) + HALF_PIXEL, np.eye(4), width, height).check("CameraInfo")
    if max(width, height) > MAX_CAMERA_SIDE:
        raise InvalidRequest(f"CameraInfo: size {width}x{height}, at most {MAX_CAMERA_SIDE} a side are taken")
    if roi[0] + roi[2] > width or roi[1] + roi[3] > height:
        raise InvalidRequest(f"CameraInfo: roi (x, y, width, height) {roi} does not lie within {width}x{height}")
    window = full.cropped(*roi)
    camera = window.resized(window.width // binning[0], window.height // binning[1]).check("CameraInfo")
    pinhole = undistort(camera.K, D, distortion_model, camera.width, camera.height, "CameraInfo")
    return replace(pinhole, aside=aside)
