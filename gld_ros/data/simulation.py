# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated robot's camera: its drive through a procedural room, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import numpy as np

from gld_ros.data.rig import BASE, MAP, ODOM, Instant, StampedTransform, optical_frame
from gld_ros.data.rooms import random_room
from gld_ros.data.sequence import DEFAULT_CAMERA, FIRST_STAMP, FRAME_PERIOD
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import invert
from gld_ros.pipeline.views import SourceView

FIELD_OF_VIEW = 75.0  # horizontal, degrees
BATCH = 4  # frames rendered at once


class Robot:
    """Drives through room `seed` with a forward-looking camera; every frame `FRAME_PERIOD` after the last.

    static: map -> odom and base_link (on the floor, x forward) -> the camera's optical axes.
    Raises InvalidRequest for a count below 1.
    """

    def __init__(self, seed: int, count: int, width: int, height: int) -> None:
        if count < 1:
            raise InvalidRequest(f"{count} frames: at least 1 is expected")
        self._room = random_room(seed)
        focal = 0.5 * width / math.tan(math.radians(FIELD_OF_VIEW) / 2)
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        self.cameras = [Camera(K, c2w, width, height) for c2w in self._room.trajectory(count, seed)]
        self._mount = invert(_base(self.cameras[0])) @ self.cameras[0].c2w
        self.static = [
            StampedTransform(MAP, ODOM, FIRST_STAMP, np.eye(4)),
            StampedTransform(BASE, optical_frame(DEFAULT_CAMERA), FIRST_STAMP, self._mount),
        ]

    def stamp(self, index: int) -> int:
        """Of a frame of the drive, nanoseconds."""
        return FIRST_STAMP + round(index * FRAME_PERIOD * 1e9)

    def views(self, indices: list[int]) -> list[SourceView]:
        """These frames of the drive, with exact depth."""
        cameras = [self.cameras[index] for index in indices]
        images, depths = self._room.render(cameras)
        stamps = [self.stamp(index) for index in indices]
        return [
            SourceView(image, camera, stamp, np.where(np.isfinite(depth), depth, np.nan).astype(np.float32))
            for image, camera, stamp, depth in zip(images, cameras, stamps, depths, strict=True)
        ]

    def drive(self, hold_out: Collection[int] = ()) -> Iterator[Instant]:
        """The frames of the drive but those in `hold_out`, rendered as they are asked for."""
        kept = [index for index in range(len(self.cameras)) if index not in hold_out]
        for start in range(0, len(kept), BATCH):
            for view in self.views(kept[start : start + BATCH]):
                base = StampedTransform(ODOM, BASE, view.stamp, view.camera.c2w @ invert(self._mount))
                yield Instant(view.stamp, [(DEFAULT_CAMERA, view)], [base])


def _base(camera: Camera) -> np.ndarray:
    """(4, 4) pose of the robot below `camera`: on the floor, z up, x along the viewing direction."""
    pose = np.eye(4)
    ahead = camera.forward * (1, 1, 0)
    pose[:3, 0] = ahead / np.linalg.norm(ahead)
    pose[:3, 1] = np.cross((0, 0, 1), pose[:3, 0])
    pose[:2, 3] = camera.center[:2]
    return pose
