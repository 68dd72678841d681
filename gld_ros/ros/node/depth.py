# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth sensors of `gld_node`: pictures wait here for the depth of their stamp. Used in the intake's thread only."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gld_ros.data.camera_messages import camera_model
from gld_ros.data.depth_messages import depth_of_camera
from gld_ros.errors import InvalidRequest, TFError
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.distortion import Pinhole
from gld_ros.ros.conversions import optical_pose, stamp_to_ns
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.poses import TFPoses, TopicPoses


@dataclass(frozen=True)
class PosedImage:
    """A picture with its lens, frame, stamp (ns) and the (4, 4) optical pose of its frame in the map frame."""

    camera: str
    frame: str
    stamp: int
    c2w: np.ndarray
    image: Image | CompressedImage
    lens: Pinhole


@dataclass(frozen=True)
class PairedDepth:
    """The depth of a picture. info: of the depth camera, None where depth is registered to the colour camera. c2w:
    (4, 4) optical pose in the map frame of the camera that it was measured from."""

    topic: str
    message: Image | CompressedImage
    info: CameraInfo | None
    c2w: np.ndarray
    rectified: bool

    def read(self, picture: PosedImage, camera: Camera) -> np.ndarray:
        """(H, W) float32 metres in the pixels of the `camera` of the picture; as `depth_of_camera`."""
        frame = self.message.header.frame_id.lstrip("/")
        if self.info is None and frame not in ("", picture.frame.lstrip("/")):
            raise InvalidRequest(
                f"'{self.topic}': its frame is '{frame}', expected is that of the images, '{picture.frame}', as depth "
                "that is registered to them has it; or name its CameraInfo in depth_camera_info_topics"
            )
        own = camera_model(self.info, self.rectified, f"the CameraInfo of '{self.topic}'") if self.info else None
        return depth_of_camera(self.message, f"'{self.topic}'", picture.lens, camera, own, self.c2w)


@dataclass
class _Sensor:
    """The depth topics of one camera, and what came on them. messages: (stamp, message), of the newest."""

    topic: str
    info_topic: str  # empty: the depth is registered to the colour camera
    messages: deque[tuple[int, Image | CompressedImage]]
    info: CameraInfo | None = field(default=None)


class DepthInputs:
    """Depth by camera. A picture gets the nearest depth within `depth_slop` of its stamp.

    It waits for that until depth of its stamp, or of a later one, is here with CameraInfo and pose, but no longer than
    `timeout` seconds: then it goes on without depth. on_missing(camera, reason): called for each of these.
    """

    def __init__(
        self, cameras: dict[str, tuple[str, str]], tf: TFPoses, poses: TFPoses | TopicPoses, p: Parameters,
        on_missing: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        """cameras: image topic -> topics of its depth and of the depth's CameraInfo (empty: registered depth)."""
        self.timeout = p.tf_timeout
        self._sensors = {camera: _Sensor(*topics, deque(maxlen=p.pending_frames)) for camera, topics in cameras.items()}
        self._tf, self._poses, self._on_missing = tf, poses, on_missing
        self._slop, self._rectified, self._body_axes = int(p.depth_slop * 1e9), p.rectified, p.camera_axes == "body"
        self._capacity = p.pending_frames
        self._waiting: deque[tuple[float, PosedImage]] = deque()

    def __contains__(self, camera: str) -> bool:
        return camera in self._sensors

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, camera: str, message: Image | CompressedImage | CameraInfo) -> None:
        """Take a message of a camera's depth topics."""
        if isinstance(message, CameraInfo):
            self._sensors[camera].info = message
        else:
            self._sensors[camera].messages.append((stamp_to_ns(message.header.stamp), message))

    def push(self, picture: PosedImage) -> None:
        """Wait for the depth of a picture."""
        self._waiting.append((time.monotonic(), picture))

    def retry(self) -> list[tuple[PosedImage, PairedDepth | None]]:
        """The pictures whose depth is here, and those that go on without."""
        ready: list[tuple[PosedImage, PairedDepth | None]] = []
        waiting: deque[tuple[float, PosedImage]] = deque()
        for number, (arrived, picture) in enumerate(self._waiting):
            late = time.monotonic() - arrived > self.timeout or number < len(self._waiting) - self._capacity
            try:
                ready.append((picture, self._partner(picture, late)))
            except TFError as error:
                if not late:
                    waiting.append((arrived, picture))
                    continue
                self._on_missing(picture.camera, str(error))
                ready.append((picture, None))
        self._waiting = waiting
        return ready

    def clear(self) -> None:
        """Forget everything: the clock jumped back."""
        for sensor in self._sensors.values():
            sensor.messages.clear()
        self._waiting.clear()

    def _partner(self, picture: PosedImage, late: bool) -> PairedDepth:
        """The depth of a picture. late: do not wait for a nearer one. Raises TFError with the reason if it, or its
        pose, is not here."""
        sensor = self._sensors[picture.camera]
        stamp, message = min(sensor.messages, key=lambda item: abs(item[0] - picture.stamp), default=(0, None))
        newest = max((known for known, _ in sensor.messages), default=0)
        if message is None or abs(stamp - picture.stamp) > self._slop or (newest < picture.stamp and not late):
            apart = f"; the nearest is {abs(stamp - picture.stamp) / 1e9:.3f} s away" if message else ""
            raise TFError(f"none within {self._slop / 1e9:g} s of its stamp (depth_slop) on '{sensor.topic}'{apart}")
        if sensor.info_topic and sensor.info is None:
            raise TFError(f"no CameraInfo came on '{sensor.info_topic}'")
        frame = message.header.frame_id if sensor.info and message.header.frame_id else picture.frame
        c2w = picture.c2w
        if (frame, stamp) != (picture.frame, picture.stamp):
            pose = self._poses.pose(picture.frame, stamp) @ self._tf.lookup(frame, stamp, target=picture.frame)
            c2w = optical_pose(pose, self._body_axes)
        return PairedDepth(sensor.topic, message, sensor.info, c2w, self._rectified)
