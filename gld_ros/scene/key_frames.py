# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The context of a request: which observed frames are kept, and which of them support a wanted view best."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from gld_ros.errors import NoContext
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import angle_between, sample_points, sees, unit
from gld_ros.geometry.se3 import rotation_angle
from gld_ros.views import SourceView

FULL_PARALLAX = np.radians(3.0)  # triangulation angle that counts as a full baseline
VIEWING_ANGLE = np.radians(30.0)  # a surface seen from this much aside is worth exp(-1) of one seen head-on
BASELINE_WEIGHT = 0.5  # of the share of triangulated points, against the share of seen points


class Seen(Protocol):
    """Something that a camera saw: a source, a view, a frame."""

    @property
    def camera(self) -> Camera: ...


Shown = TypeVar("Shown", bound=Seen)
SHARED = 0.5  # targets share sources that see at least so much of what all frames see of each of them


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
    jumps: those of them where time or the map frame jumped; all that is in that frame is out of date, too. frames: kept
    from the start, with the names of their cameras, oldest first.
    """

    def __init__(self, rules: KeyFrameRules | None = None, frames: Iterable[tuple[str, SourceView]] = ()) -> None:
        self.rules = rules or KeyFrameRules()
        self.epoch = self.jumps = 0
        self._frames: deque[tuple[str, SourceView]] = deque(frames)
        self._centres: tuple[list[tuple[str, SourceView]], np.ndarray] | None = None  # of the frames, None: out of date
        self._lock = threading.Lock()

    def wants(self, name: str, c2w: np.ndarray, stamp: int, measured: bool = False) -> bool:
        """True if a frame of the camera `name` at pose `c2w` (4, 4) and `stamp` (ns) would become a key frame.

        measured: it has depth of a sensor; near frames without then do not count.
        """
        with self._lock:
            self._expire(stamp)
            if self._centres is None:
                places = [view.camera.center for _, view in self._frames]
                self._centres = list(self._frames), np.array(places).reshape(-1, 3)
            frames, centres = self._centres
            beside = np.linalg.norm(centres - c2w[:3, 3], axis=1) < self.rules.translation
            return not any(
                name == other and self._near(c2w, view.camera.c2w) and (view.depth is not None or not measured)
                for other, view in (frames[i] for i in np.flatnonzero(beside))
            )

    def add(self, name: str, view: SourceView) -> bool:
        """Keep `view` of the camera `name` if it is a key frame, in the place of those near it that depth did not come
        for; returns whether it was kept."""
        if not self.wants(name, view.camera.c2w, view.stamp, view.depth is not None):
            return False
        with self._lock:
            kept = [
                frame
                for frame in self._frames
                if frame[0] != name or not self._near(view.camera.c2w, frame[1].camera.c2w)
            ]
            self._frames, self._centres = deque([*kept, (name, view)]), None
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

    def replace(self, change: Callable[[str, SourceView], SourceView | None]) -> int:
        """Put `change(name, view)` in the place of each kept view; None drops it. Returns how many are left."""
        with self._lock:
            changed = [(name, change(name, view)) for name, view in self._frames]
            self._frames, self._centres = deque((name, view) for name, view in changed if view is not None), None
            self.epoch += 1
            self.jumps += 1
            return len(self._frames)

    def drop(self, which: Callable[[str, SourceView], bool]) -> int:
        """Forget the kept views for which which(name, view) is true. Returns how many these were."""
        with self._lock:
            before = len(self._frames)
            self._frames, self._centres = deque(frame for frame in self._frames if not which(*frame)), None
            return before - len(self._frames)

    def clear(self, jump: bool = False) -> None:
        """Forget all frames. jump: because time jumped."""
        with self._lock:
            self.jumps += jump
            self._frames.clear()
            self._centres = None
            self.epoch += 1

    def __len__(self) -> int:
        return len(self._frames)

    def _near(self, a: np.ndarray, b: np.ndarray) -> bool:
        distance = float(np.linalg.norm(a[:3, 3] - b[:3, 3]))
        return distance < self.rules.translation and rotation_angle(a, b) < self.rules.rotation

    def _expire(self, newest: int) -> None:
        while self._frames and newest - self._frames[0][1].stamp > self.rules.max_age * 1e9:
            self._frames.popleft()
            self._centres = None


def select_sources(frames: Sequence[Shown], targets: Sequence[Camera], count: int) -> list[Shown]:
    """At most `count` of `frames` that see best what `targets` look at, best first.

    Points on rays of the targets, at depths measured in distances to the frames, stand for the unknown scene. Frames
    are added greedily by the share of points seen (head-on and from as near as the target counts most) plus the share
    seen by two frames under a triangulation angle, without which neither parallax nor metric scale can be found.

    Raises NoContext when there is no frame, or none whose frustum meets a target's.
    """
    if not frames:
        raise NoContext("the context holds no frame")
    points, origins = sample_points([frame.camera for frame in frames], targets)
    seen = np.stack([sees(frame.camera, points) for frame in frames])
    offsets = points - np.stack([frame.camera.center for frame in frames])[:, None]
    directions = unit(offsets)
    nearness = np.linalg.norm(points - origins, axis=-1) / np.maximum(np.linalg.norm(offsets, axis=-1), 1e-12)
    worth = seen * np.minimum(nearness, 1) * np.exp(-angle_between(directions, unit(points - origins)) / VIEWING_ANGLE)
    candidates = {i for i in range(len(frames)) if seen[i].any()}
    if not candidates:
        raise NoContext(f"none of the {len(frames)} frames in the context looks at what the wanted cameras would see")
    chosen: list[int] = []
    covered = np.zeros(len(points))
    triangulated = np.zeros(len(points))

    def with_frame(i: int) -> tuple[float, np.ndarray, np.ndarray]:
        cover, parallax = np.maximum(covered, worth[i]), triangulated
        for j in chosen:
            angle = np.minimum(angle_between(directions[i], directions[j]) / FULL_PARALLAX, 1)
            parallax = np.maximum(parallax, worth[i] * worth[j] * angle)
        return float(cover.mean() + BASELINE_WEIGHT * parallax.mean()), cover, parallax

    while candidates and len(chosen) < count:
        best = max(candidates, key=lambda i: with_frame(i)[0])
        _, covered, triangulated = with_frame(best)
        chosen.append(best)
        candidates.remove(best)
    return [frames[i] for i in chosen]


def select_together(
    frames: Sequence[SourceView], targets: Sequence[Camera], count: int, most: int = 0
) -> tuple[list[SourceView], list[Camera]]:
    """At most `count` of `frames`, and as many of the first `targets` as these support together.

    They support a target if they see at least SHARED of what all frames together see of it, and if two of them see at
    least SHARED of what two frames see: parallax needs two. most: limit of sources and targets together; 0 means none.
    Raises NoContext as `select_sources` does for the first target.
    """

    def supported(seen: np.ndarray, sources: Sequence[SourceView]) -> bool:
        chosen = [any(frame is source for source in sources) for frame in frames]
        by_sources, by_all = seen[chosen].sum(axis=0), seen.sum(axis=0)
        return all((by_sources >= views).mean() >= SHARED * (by_all >= views).mean() for views in (1, min(2, count)))

    number = min(len(targets), most - min(count, len(frames))) if most else len(targets)
    looked_at = [sample_points([frame.camera for frame in frames], [target])[0] for target in targets[:number]]
    seen = [np.stack([sees(frame.camera, points) for frame in frames]) for points in looked_at]
    while number > 1:
        if not all(of_target.any() for of_target in seen[:number]):
            number //= 2
            continue
        sources = select_sources(frames, targets[:number], count)
        if all(supported(of_target, sources) for of_target in seen[:number]):
            return sources, list(targets[:number])
        number //= 2
    return select_sources(frames, targets[:1], count), list(targets[:1])
