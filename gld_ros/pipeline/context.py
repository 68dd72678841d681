# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The context of a request: which observed frames are kept, and which of them support a wanted view best."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gld_ros.errors import NoContext
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import rotation_angle
from gld_ros.pipeline.views import SourceView

SAMPLE_GRID = (8, 6)  # rays a target camera, across and down
SAMPLE_DEPTHS = (1.0, 2.0, 4.0, 8.0, 16.0)  # in distances from the target to its 4th nearest frame: no scale is needed
NEIGHBOURS = 4
FULL_PARALLAX = np.radians(3.0)  # triangulation angle that counts as a full baseline
VIEWING_ANGLE = np.radians(30.0)  # a surface seen from this much aside is worth exp(-1) of one seen head-on
BASELINE_WEIGHT = 0.5  # of the share of triangulated points, against the share of seen points


@dataclass(frozen=True)
class KeyFrameRules:
    """When a frame becomes a key frame, and how long it is kept.

    translation: metres, rotation: radians; a frame nearer than both to a kept frame of its camera is not kept.
    max_age: seconds behind the newest stamp. capacity: frames of all cameras together; the oldest goes first.
    """

    translation: float = 0.1
    rotation: float = 0.15
    max_age: float = 120.0
    capacity: int = 64


class KeyFrameBuffer:
    """Bounded store of posed images of several cameras. Thread-safe.

    epoch: goes up when all frames are forgotten or get other poses; what was made of the frames before is out of date.
    """

    def __init__(self, rules: KeyFrameRules | None = None) -> None:
        self.rules = rules or KeyFrameRules()
        self.epoch = 0
        self._frames: deque[tuple[str, SourceView]] = deque()
        self._lock = threading.Lock()

    def wants(self, name: str, c2w: np.ndarray, stamp: int) -> bool:
        """Whether a frame of the camera `name` at pose `c2w` (4, 4) and `stamp` (ns) would become a key frame."""
        with self._lock:
            self._expire(stamp)
            newest_first = reversed(self._frames)  # most frames are near the newest
            return not any(name == other and self._near(c2w, view.camera.c2w) for other, view in newest_first)

    def add(self, name: str, view: SourceView) -> bool:
        """Keep `view` of the camera `name` if it is a key frame; returns whether it was kept."""
        if not self.wants(name, view.camera.c2w, view.stamp):
            return False
        with self._lock:
            self._frames.append((name, view))
            while len(self._frames) > self.rules.capacity:
                self._frames.popleft()
        return True

    def frames(self) -> list[SourceView]:
        """The kept views, oldest first."""
        with self._lock:
            return [view for _, view in self._frames]

    def named_frames(self) -> list[tuple[str, SourceView]]:
        """The kept views with the names of their cameras, oldest first."""
        with self._lock:
            return list(self._frames)

    def replace(self, change: Callable[[str, SourceView], SourceView | None]) -> None:
        """Put `change(name, view)` in the place of each kept view; None drops it."""
        with self._lock:
            changed = [(name, change(name, view)) for name, view in self._frames]
            self._frames = deque((name, view) for name, view in changed if view is not None)
            self.epoch += 1

    def clear(self) -> None:
        with self._lock:
            self._frames.clear()
            self.epoch += 1

    def __len__(self) -> int:
        return len(self._frames)

    def _near(self, a: np.ndarray, b: np.ndarray) -> bool:
        distance = float(np.linalg.norm(a[:3, 3] - b[:3, 3]))
        return distance < self.rules.translation and rotation_angle(a, b) < self.rules.rotation

    def _expire(self, newest: int) -> None:
        while self._frames and newest - self._frames[0][1].stamp > self.rules.max_age * 1e9:
            self._frames.popleft()


def frustum(camera: Camera, depth: float) -> np.ndarray:
    """(4, 3) corners in the world of the image plane at `depth` metres: top left, top right, bottom right and left."""
    corners = np.array([(0, 0), (camera.width, 0), (camera.width, camera.height), (0, camera.height)], dtype=np.float64)
    return camera.center + _rays(camera, corners) * depth


def select_sources(frames: Sequence[SourceView], targets: Sequence[Camera], count: int) -> list[SourceView]:
    """At most `count` of `frames` that see best what `targets` look at, best first.

    Points on rays of the targets, at depths measured in distances to the frames, stand for the unknown scene. Frames
    are added greedily by the share of points seen (head-on and from as near as the target counts most) plus the share
    seen by two frames under a triangulation angle, without which neither parallax nor metric scale can be found.

    Raises NoContext when there is no frame, or none whose frustum meets a target's.
    """
    if not frames:
        raise NoContext("the context holds no frame")
    points, origins = _sample_points([frame.camera for frame in frames], targets)
    seen = np.stack([_sees(frame.camera, points) for frame in frames])
    offsets = points - np.stack([frame.camera.center for frame in frames])[:, None]
    directions = _unit(offsets)
    nearness = np.linalg.norm(points - origins, axis=-1) / np.maximum(np.linalg.norm(offsets, axis=-1), 1e-12)
    worth = seen * np.minimum(nearness, 1) * np.exp(-_angle(directions, _unit(points - origins)) / VIEWING_ANGLE)
    candidates = {i for i in range(len(frames)) if seen[i].any()}
    if not candidates:
        raise NoContext(f"none of the {len(frames)} frames in the context looks at what the wanted cameras would see")
    chosen: list[int] = []
    covered = np.zeros(len(points))
    triangulated = np.zeros(len(points))

    def with_frame(i: int) -> tuple[float, np.ndarray, np.ndarray]:
        cover, parallax = np.maximum(covered, worth[i]), triangulated
        for j in chosen:
            angle = np.minimum(_angle(directions[i], directions[j]) / FULL_PARALLAX, 1)
            parallax = np.maximum(parallax, worth[i] * worth[j] * angle)
        return float(cover.mean() + BASELINE_WEIGHT * parallax.mean()), cover, parallax

    while candidates and len(chosen) < count:
        best = max(candidates, key=lambda i: with_frame(i)[0])
        _, covered, triangulated = with_frame(best)
        chosen.append(best)
        candidates.remove(best)
    return [frames[i] for i in chosen]


def overlap(cameras: Sequence[Camera], target: Camera) -> float:
    """Share (0..1) of what `target` may look at that lies in some camera's view, at the depths of `select_sources`."""
    points, _ = _sample_points(cameras, [target])
    return float(np.any([_sees(camera, points) for camera in cameras], axis=0).mean())


def _sample_points(cameras: Sequence[Camera], targets: Sequence[Camera]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) points in front of the targets, at depths measured in distances to the cameras, and (N, 3) the centres of
    the targets that look at them."""
    centers = np.stack([camera.center for camera in cameras])
    points, origins = [], []
    for target in targets:
        distances = np.sort(np.linalg.norm(centers - target.center, axis=1))
        reach = float(distances[:NEIGHBOURS][-1]) or 1.0
        across, down = SAMPLE_GRID
        u, v = np.meshgrid((np.arange(across) + 0.5) / across, (np.arange(down) + 0.5) / down)
        rays = _rays(target, np.stack([u.ravel() * target.width, v.ravel() * target.height], axis=1))
        for depth in SAMPLE_DEPTHS:
            points.append(target.center + rays * (depth * reach))
            origins.append(np.broadcast_to(target.center, rays.shape))
    return np.concatenate(points), np.concatenate(origins)


def _rays(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """(N, 3) rays in the world of depth 1 through (N, 2) `pixels`."""
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
    return homogeneous @ np.linalg.inv(camera.K).T @ camera.c2w[:3, :3].T


def _sees(camera: Camera, points: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the (N, 3) world points lie inside the image."""
    local = (points - camera.center) @ camera.c2w[:3, :3]
    in_front = local[:, 2] > 1e-9
    pixels = local @ camera.K.T
    u, v = (pixels[:, :2] / np.where(in_front, local[:, 2], 1)[:, None]).T
    return in_front & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip((a * b).sum(axis=-1), -1, 1))
