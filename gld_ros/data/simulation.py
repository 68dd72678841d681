"""A simulated robot's camera: its drive through a procedural room, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gld_ros.data.rooms import random_room
from gld_ros.data.sequence import FIRST_STAMP, FRAME_PERIOD
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.pipeline.views import SourceView

FIELD_OF_VIEW = 75.0  # horizontal, degrees
BATCH = 4  # frames rendered at once


def drive_cameras(seed: int, count: int, width: int, height: int) -> list[Camera]:
    """The `count` cameras of the drive through room `seed`. Raises InvalidRequest for a count below 1."""
    if count < 1:
        raise InvalidRequest(f"{count} frames: at least 1 is expected")
    focal = 0.5 * width / math.tan(math.radians(FIELD_OF_VIEW) / 2)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return [Camera(K, c2w, width, height) for c2w in random_room(seed).trajectory(count, seed)]


def drive(seed: int, count: int, width: int, height: int) -> Iterator[SourceView]:
    """Views with exact depth along the drive, `FRAME_PERIOD` apart; rendered as they are asked for."""
    room = random_room(seed)
    cameras = drive_cameras(seed, count, width, height)
    for start in range(0, count, BATCH):
        batch = cameras[start : start + BATCH]
        images, depths = room.render(batch)
        for offset, (image, depth, camera) in enumerate(zip(images, depths, batch, strict=True)):
            stamp = FIRST_STAMP + round((start + offset) * FRAME_PERIOD * 1e9)
            yield SourceView(image, camera, stamp, np.where(np.isfinite(depth), depth, np.nan).astype(np.float32))
