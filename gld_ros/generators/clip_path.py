# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A request as the camera path of a clip: the sources, and smoothly through the targets, each exactly on a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, RotationSpline

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import rotation_angle

#: Frames that a latent frame after the first stands for.
GROUP = 4


@dataclass(frozen=True)
class ClipPath:
    """cameras: of every frame; sources, targets: the frames that those of the request are on."""

    cameras: list[Camera]
    sources: list[int]
    targets: list[int]

    @property
    def c2w(self) -> np.ndarray:
        """(F, 4, 4)."""
        return np.stack([camera.c2w for camera in self.cameras])

    @property
    def K(self) -> np.ndarray:
        """(F, 3, 3)."""
        return np.stack([camera.K for camera in self.cameras])


def clip_path(sources: Sequence[Camera], targets: Sequence[Camera], frames: int) -> ClipPath:
    """The path of a clip of `frames` (4 n + 1), all cameras of one size.

    One source is the first frame and the last target the last; of two, the second is the last frame. Where all frames
    are given, every target has to be at one of them. Frames between two cameras of the request are as many as the way
    between them is long. Raises InvalidRequest.
    """
    check_frames(frames, len(sources), len(targets))
    if len(sources) == frames:
        return ClipPath(
            list(sources), list(range(frames)), [_at(target, sources, k) for k, target in enumerate(targets)]
        )
    keys = [sources[0], *targets, *sources[1:]]
    places = _places(keys, frames)
    cameras = _through(keys, places, frames)
    return ClipPath(cameras, [places[0], *places[1 + len(targets) :]], places[1 : 1 + len(targets)])


def check_frames(frames: int, sources: int, targets: int) -> None:
    """Raise InvalidRequest unless so many frames make a clip of so many sources and targets."""
    if frames < 1 + GROUP or frames % GROUP != 1:
        raise InvalidRequest(f"a clip of {frames} frames, expected 4 n + 1: 5, 9, 13, ...")
    if sources not in (1, 2, frames):
        raise InvalidRequest(f"{sources} source views, expected 1, 2 or, for all frames of the clip, {frames}")
    if sources < frames < sources + targets:
        raise InvalidRequest(f"{sources} sources and {targets} targets: a clip of {frames} frames has not so many")


def _at(target: Camera, sources: Sequence[Camera], number: int) -> int:
    """The source with a target's pose."""
    for k, source in enumerate(sources):
        if np.allclose(source.c2w, target.c2w, atol=1e-6):
            return k
    raise InvalidRequest(f"target {number} is at none of the sources' poses: all frames are given, none can be added")


def _places(keys: Sequence[Camera], frames: int) -> list[int]:
    """The frame of each of the cameras, the first on 0, the last on the last; at least one frame further each time."""
    extent = max(np.linalg.norm(b.center - a.center) for a in keys for b in keys) or 1.0
    ways = np.array([
        np.linalg.norm(b.center - a.center) / extent + rotation_angle(a.c2w, b.c2w) + 1e-3
        for a, b in zip(keys[:-1], keys[1:], strict=True)
    ])  # fmt: skip
    free = frames - len(keys)  # beyond the one frame that each way has in any case
    ends = np.cumsum(ways) / ways.sum()
    return [0, *(int(k + 1 + round(share * free)) for k, share in enumerate(ends))]


def _through(keys: Sequence[Camera], places: Sequence[int], frames: int) -> list[Camera]:
    """A camera for every frame: positions without overshoot, rotations smoothly, intrinsics linearly."""
    from scipy.interpolate import PchipInterpolator  # takes long to import, and most models need none

    every = np.arange(frames)
    centres = PchipInterpolator(places, [key.center for key in keys])(every)
    turns = RotationSpline(places, Rotation.from_matrix([key.c2w[:3, :3] for key in keys]))(every).as_matrix()
    K = np.stack([key.K for key in keys]).reshape(len(keys), 9)
    Ks = np.stack([np.interp(every, places, column) for column in K.T], axis=1).reshape(frames, 3, 3)
    cameras = []
    for turn, centre, k in zip(turns, centres, Ks, strict=True):
        c2w = np.eye(4)
        c2w[:3, :3], c2w[:3, 3] = turn, centre
        cameras.append(Camera(k, c2w, keys[0].width, keys[0].height))
    for key, place in zip(keys, places, strict=True):
        cameras[place] = key
    return cameras
