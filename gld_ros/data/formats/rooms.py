# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural rooms as scenes, rendered when they are asked for: `rooms:train`, `rooms:test`, `rooms:SEED-SEED`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np

from gld_ros.data.clips import Clip
from gld_ros.data.framing import clip_of, window
from gld_ros.data.rooms import TEST_SEED, Room, random_room
from gld_ros.data.scenes import Scenes, chosen
from gld_ros.data.sequence import DEFAULT_CAMERA, Frame, made_up_stamp
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics

SPLITS = {"train": range(TEST_SEED), "test": range(TEST_SEED, 2 * TEST_SEED)}
FIELD_OF_VIEW = (60.0, 100.0)  # horizontal, degrees


class RoomScenes(Scenes):
    """A drive through every room: the same room, drive and lens for the same seed everywhere.

    frames: of a drive. step: metres between frames. width, height: of the camera, whose window a clip shows.
    """

    one_camera = True

    def __init__(self, path: str = "train", frames: int = 64, step: float = 0.06, width: int = 640, height: int = 480):
        bounds = re.fullmatch(r"(\d+)-(\d+)", path)
        if bounds:
            self.seeds = range(int(bounds[1]), int(bounds[2]))
        elif path in SPLITS:
            self.seeds = SPLITS[path]
        else:
            raise InvalidRequest(f"rooms {path!r}: train, test or FIRST-END (seeds) is expected")
        self.count, self.step, self.camera_size = frames, step, (width, height)
        super().__init__(_Names(self.seeds), f"rooms:{path}")

    def read(self, index: int) -> list[Frame]:
        seed = self.seeds[index]
        return [
            Frame(
                name=f"{self.names[index]} frame {number}",
                camera_name=DEFAULT_CAMERA,
                stamp=made_up_stamp(number),
                camera=camera,
                read_image=partial(_rendered, seed, camera, 0),
                read_depth=partial(_rendered, seed, camera, 1),
            )
            for number, camera in enumerate(self._cameras(seed))
        ]

    def find(self, name: str) -> int | None:
        seed = name.removeprefix("room-")
        return self.seeds.index(int(seed)) if seed.isdigit() and int(seed) in self.seeds else None

    def _cameras(self, seed: int) -> list[Camera]:
        width, height = self.camera_size
        angle = math.radians(np.random.default_rng([seed, 5]).uniform(*FIELD_OF_VIEW))
        focal = 0.5 * width / math.tan(angle / 2)
        K = intrinsics(focal, focal, width / 2, height / 2)
        return [Camera(K, c2w, width, height) for c2w in _room(seed).trajectory(self.count, seed, self.step)]

    def load(self, index: int, views: Sequence[int], size: tuple[int, int] | None = None) -> Clip:
        """`Scenes.load`, but rendered at `size` at once."""
        width, height = size or self.camera_size
        frames = chosen(self.frames(index), views, self.names[index])
        cameras = [window(frame.camera, width, height).resized(width, height) for frame in frames]
        images, depths = _room(self.seeds[index]).render(cameras)
        return clip_of(images, list(depths), cameras, self.names[index])


class _Names(Sequence[str]):
    """Names of a thousand million rooms, made when asked for."""

    def __init__(self, seeds: range) -> None:
        self._seeds = seeds

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index):
        return f"room-{self._seeds[index]}"


@lru_cache(maxsize=2)
def _room(seed: int) -> Room:
    return random_room(seed)


def _rendered(seed: int, camera: Camera, part: int) -> np.ndarray:
    """Part 0 is the image, 1 the depth."""
    return _room(seed).render([camera])[part][0]
