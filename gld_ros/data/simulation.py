# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated robot's camera: its drive through a furnished room, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import numpy as np

from gld_ros.data.furnished import furnished_room
from gld_ros.data.rig import BASE, MAP, ODOM, Instant, StampedTransform, optical_frame
from gld_ros.data.rooms import Room, camera_pose
from gld_ros.data.sequence import DEFAULT_CAMERA, FIRST_STAMP, made_up_stamp
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.se3 import invert, rigid
from gld_ros.views import SourceView

FIELD_OF_VIEW = 75.0  # horizontal, degrees
STEP = 0.06  # metres between frames
NARROW = 0.2  # metres to the nearest thing: the robot goes through nothing narrower
WAYS = 200  # through a passage, of which the freest is driven
BATCH = 4  # frames rendered at once


class Robot:
    """Drives through furnished room `seed` with a forward-looking camera; every frame a frame period after the last.

    It begins with the way through the room's passage, if there is one that is wide enough, and then drives around.

    static: map -> odom and base_link (on the floor, x forward) -> the camera's optical axes.
    Raises InvalidRequest for a count below 1.
    """

    def __init__(self, seed: int, count: int, width: int, height: int) -> None:
        if count < 1:
            raise InvalidRequest(f"{count} frames: at least 1 is expected")
        self._room = furnished_room(seed)
        focal = 0.5 * width / math.tan(math.radians(FIELD_OF_VIEW) / 2)
        K = intrinsics(focal, focal, width / 2, height / 2)
        self.cameras = [Camera(K, c2w, width, height) for c2w in _drive(self._room, count, seed)]
        self._mount = invert(_base(self.cameras[0])) @ self.cameras[0].c2w
        self.static = [
            StampedTransform(MAP, ODOM, FIRST_STAMP, np.eye(4)),
            StampedTransform(BASE, optical_frame(DEFAULT_CAMERA), FIRST_STAMP, self._mount),
        ]

    def views(self, indices: list[int]) -> list[SourceView]:
        """These frames of the drive, with exact depth."""
        return self.render([self.cameras[index] for index in indices], [made_up_stamp(index) for index in indices])

    def beside(self, index: int, ahead: float, left: float, turn: float) -> Camera:
        """The camera, had the robot at frame `index` moved `ahead` and to the `left` (metres), then turned (radians,
        to the left)."""
        camera = self.cameras[index]
        moved = _base(camera)
        moved[:3, 3] += ahead * moved[:3, 0] + left * moved[:3, 1]
        cos, sin = math.cos(turn), math.sin(turn)
        moved[:3, :3] = moved[:3, :3] @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        return camera.moved(moved @ self._mount)

    def room_left(self, cameras: list[Camera]) -> np.ndarray:
        """Metres from each camera to the nearest thing; negative inside one."""
        return self._room.clearance(np.stack([camera.center for camera in cameras]))

    def render(self, cameras: list[Camera], stamps: list[int]) -> list[SourceView]:
        """Views of the room from these cameras, all of one size, with exact depth."""
        images, depths = self._room.render(cameras)
        return [SourceView(*view) for view in zip(images, cameras, stamps, depths, strict=True)]

    def drive(self, hold_out: Collection[int] = ()) -> Iterator[Instant]:
        """The frames of the drive but those in `hold_out`, rendered as they are asked for."""
        kept = [index for index in range(len(self.cameras)) if index not in hold_out]
        for start in range(0, len(kept), BATCH):
            for view in self.views(kept[start : start + BATCH]):
                base = StampedTransform(ODOM, BASE, view.stamp, view.camera.c2w @ invert(self._mount))
                yield Instant(view.stamp, [(DEFAULT_CAMERA, view)], [base])


def _drive(room: Room, count: int, seed: int) -> list[np.ndarray]:
    """`count` (4, 4) c2w poses, `STEP` apart: through a passage of the room, then around."""
    around = room.trajectory(count, seed, STEP)
    height, pitch = around[0][2, 3], math.asin(around[0][2, 2])
    way = _way_through(room, np.random.default_rng([seed, 78]), height)
    if way is None:
        return around
    ahead = np.diff(way, axis=0)
    headings = np.arctan2(ahead[:, 1], ahead[:, 0])
    through = [camera_pose(np.array([*place, height]), yaw, pitch) for place, yaw in zip(way, headings, strict=False)]
    on = max(count - len(through), 0)
    return through[:count] + room.trajectory(on, seed, STEP, start=(way[-1], headings[-1]))


def _way_through(room: Room, rng: np.random.Generator, height: float) -> np.ndarray | None:
    """(N, 2) places `STEP` apart on the freest curve through a passage, at `height` metres; None if all are narrow."""
    best, widest = None, NARROW
    for passage in room.passages:
        for _ in range(WAYS):
            through = passage[2:] * rng.choice([-1, 1])
            aside = np.array([-through[1], through[0]])
            start = passage[:2] - rng.uniform(2, 3) * through + rng.uniform(-1, 1) * aside
            way = _curve(start, passage[:2] - 0.5 * through, passage[:2] + rng.uniform(0.8, 1.2) * through)
            width = room.clearance(np.column_stack([way, np.full(len(way), height)])).min()
            if width > widest:
                best, widest = way, width
    return best


def _curve(start: np.ndarray, bend: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(N, 2) points `STEP` apart on the quadratic Bezier curve from start to end, (2,) each."""
    t = np.linspace(0, 1, 400)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    driven = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.arange(0, driven[-1], STEP)
    return np.stack([np.interp(at, driven, points[:, axis]) for axis in (0, 1)], axis=1)


def _base(camera: Camera) -> np.ndarray:
    """(4, 4) pose of the robot below `camera`: on the floor, z up, x along the viewing direction."""
    level = camera.forward * (1, 1, 0)
    ahead, up = level / np.linalg.norm(level), np.array([0.0, 0.0, 1.0])
    return rigid(np.stack([ahead, np.cross(up, ahead), up], axis=1), camera.center * (1, 1, 0))
