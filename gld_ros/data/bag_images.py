# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images of a bag, each with the CameraInfo that is its own, read when asked for; stamps and poses of messages."""

from __future__ import annotations

import posixpath
import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np

from gld_ros.data.camera_messages import camera_model, picture, unusable
from gld_ros.data.depth_messages import depth_of_camera
from gld_ros.data.recording import Recording
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.distortion import Pinhole
from gld_ros.geometry.se3 import pose_from_quaternion

INFO_TOLERANCE = 20_000_000  # ns between an image and its CameraInfo; farther away the newest one before holds


@dataclass(frozen=True)
class Calibration:
    """The CameraInfo of an image: its tables are made when the image is read, those of a few lenses are kept.

    shares_frame: with the first camera of its stereo pair.
    """

    info: Any
    rectified: bool
    where: str
    shares_frame: bool

    def unusable(self) -> str:
        """Why there is no `pinhole`, of a CameraInfo that is well-formed; empty if there is one."""
        return unusable(self.info, self.rectified, self.shares_frame)

    def pinhole(self) -> Pinhole:
        return camera_model(self.info, self.rectified, self.where, self.shares_frame)


@dataclass(frozen=True)
class BagImage:
    """One image message: where it is (recording, topic, log_time), and what its header says.

    It is read when asked for, from any thread, at any time.
    """

    recording: Recording
    topic: str
    log_time: int
    stamp: int
    frame_id: str

    def __str__(self) -> str:
        return f"{self.recording.path}: {self.topic} at {self.stamp / 1e9:.6f} s"

    def colour(self, calibration: Calibration, levels: tuple[int, int]) -> np.ndarray:
        """(H, W, 3) uint8 RGB, undistorted. Raises InvalidRequest for an undecodable image or one of another size."""
        return calibration.pinhole().apply(picture(self._message(), str(self), levels), str(self))

    def depth(self, calibration: Calibration, camera: Camera, own: Calibration | None, c2w: np.ndarray) -> np.ndarray:
        """(H, W) float32 metres in the pixels of the colour `camera` with its `calibration`; see `depth_of_camera`."""
        lens = own.pinhole() if own else None
        return depth_of_camera(self._message(), str(self), calibration.pinhole(), camera, lens, c2w)

    def size(self) -> tuple[int, int] | None:
        """(width, height) as recorded; None where it cannot be decoded."""
        try:
            height, width, _ = picture(self._message(), str(self)).shape
        except InvalidRequest:
            return None
        return width, height

    def _message(self) -> Any:
        with self.recording.reading() as bag:
            for message in bag.messages([self.topic], self.log_time, self.log_time + 1):
                read = self.recording.deserialize(message)
                if stamp_of(read) == self.stamp:
                    return read
        raise InvalidRequest(f"{self.recording.path}: the image at {self.stamp} ns on {self.topic} is gone")


def stamp_of(message: Any) -> int:
    """The stamp of a message's header, ns."""
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def camera_of(image_topic: str) -> str:
    """The name of the camera of an image topic."""
    return posixpath.dirname(image_topic.removesuffix("/compressed")).strip("/").replace("/", "_") or "camera"


def info_topic(image_topic: str) -> str:
    """The CameraInfo beside an image topic, as image_transport's cameras have it."""
    base = image_topic.removesuffix("/compressed").removesuffix("/compressedDepth")
    return posixpath.join(posixpath.dirname(base), "camera_info")


def likeness(topic: str, other: str) -> int:
    """How long the part is that the names of two topics begin with, folder by folder."""
    return len(posixpath.commonpath([topic, other]))


def info_at(infos: list[tuple[int, Any]], stamp: int) -> Any:
    """The CameraInfo of an image's stamp; one that was sent once, or rarely, holds until the next."""
    after = bisect_left(infos, stamp, key=lambda info: info[0])
    near = min(infos[max(after - 1, 0) : after + 1], key=lambda info: abs(info[0] - stamp))
    return near[1] if abs(near[0] - stamp) <= INFO_TOLERANCE else infos[max(after - 1, 0)][1]


def nearest_in_time(images: list[BagImage], stamp: int) -> BagImage:
    """The image nearest to a stamp (ns), of some in the order of theirs."""
    after = bisect_left(images, stamp, key=lambda image: image.stamp)
    return min(images[max(after - 1, 0) : after + 1], key=lambda image: abs(image.stamp - stamp))


def pose_of(position: Any, turn: Any) -> np.ndarray:
    """(4, 4); all NaN where it is no pose, so that only what needs it is bad."""
    try:
        return pose_from_quaternion((position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w))
    except InvalidRequest:
        return np.full((4, 4), np.nan)


def rectified_by_name(topic: str) -> bool:
    """True if the name of an image topic says so."""
    return bool(re.search(r"(^|_)rect(ified)?(_|$)", posixpath.basename(topic)))
