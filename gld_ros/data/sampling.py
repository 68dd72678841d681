# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Choice of the frames of a scene for a clip, and of its sources (spec gld.md; released configs)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gld_ros.data.sequence import Frame
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import sees, unproject
from gld_ros.geometry.se3 import rotation_angle

Seed = int | Sequence[int] | np.random.Generator
ORDERS = ("random", "ends", "first")
DEPTH_GRID = 24  # about so many pixels a side stand for a depth image


@dataclass(frozen=True)
class ViewSampling:
    """Rules by which clips are cut out of scenes.

    views: of a clip. sources: lowest and highest number of sources; one is drawn (the released training draws 1-4).
    order: which views are the sources: "random" ones (training), "ends": evenly spread from the first to the last
    (evaluation), or the "first" ones.
    min_interval, max_interval: frames from one view to the next; one is drawn, the scene's length permitting.
    motion: (low, high) instead of frames: how far the camera moves from one view to the next, in the poses' unit, a
    turn of one radian counting `radian`. Slow drives and fast ones then give clips of the same difficulty.
    overlap: (low, high) share of the first view's pixels that the last one sees too, occlusion aside. Of the permitted
    intervals one within is drawn. Needs depth: the sensor's, or `distance`, a typical one in the poses' unit.
    """

    views: int = 8
    sources: tuple[int, int] = (1, 4)
    order: str = "random"
    min_interval: int = 1
    max_interval: int = 25
    motion: tuple[float, float] | None = None
    radian: float = 1.0
    overlap: tuple[float, float] | None = None
    distance: float | None = None

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InvalidRequest(f"order {self.order!r} of views: one of {', '.join(ORDERS)} is expected")
        if not 1 <= self.sources[0] <= self.sources[1] < self.views:
            raise InvalidRequest(f"{self.sources} sources of {self.views} views: at least one of each is expected")
        if not 1 <= self.min_interval <= self.max_interval:
            raise InvalidRequest(f"intervals {self.min_interval}..{self.max_interval}: 1 or more, rising, are expected")
        if self.motion and self.overlap:
            raise InvalidRequest("motion and overlap both say how far views lie apart; one is expected")

    def draw_sources(self, seed: Seed) -> int:
        """A number of sources; the same seed gives the same number."""
        return int(np.random.default_rng(seed).integers(self.sources[0], self.sources[1] + 1))

    def draw(self, frames: Sequence[Frame], seed: Seed, sources: int | None = None) -> tuple[list[int], int]:
        """Numbers of the clip's frames, sources first, both in time order; and how many sources.

        sources: their number; drawn where None. Raises InvalidRequest for a scene too short or with too little motion.
        """
        rng = np.random.default_rng(seed)
        count = self.draw_sources(rng) if sources is None else sources
        if self.motion:
            views = self._by_motion(frames, rng)
        elif self.overlap:
            views = self._by_overlap(frames, rng)
        else:
            interval = int(rng.integers(self.min_interval, self._longest(frames) + 1))
            views = self._from(int(rng.integers(len(frames) - self._span(interval))), interval)
        first = self._source_places(count, rng)
        return [views[k] for k in first] + [views[k] for k in range(self.views) if k not in first], count

    def _source_places(self, count: int, rng: np.random.Generator) -> list[int]:
        if self.order == "first":
            return list(range(count))
        if self.order == "ends":
            return np.linspace(0, self.views - 1, count).round().astype(int).tolist()
        return sorted(rng.permutation(self.views)[:count].tolist())

    def _span(self, interval: int) -> int:
        return (self.views - 1) * interval

    def _from(self, start: int, interval: int) -> list[int]:
        return [start + k * interval for k in range(self.views)]

    def _longest(self, frames: Sequence[Frame]) -> int:
        """The longest interval that the scene has room for."""
        longest = min(self.max_interval, (len(frames) - 1) // (self.views - 1))
        if longest < self.min_interval:
            raise InvalidRequest(
                f"{frames[0].name}: a scene of {len(frames)} frames is too short for {self.views} views, "
                f"{self.min_interval} or more frames apart"
            )
        return longest

    def _by_motion(self, frames: Sequence[Frame], rng: np.random.Generator) -> list[int]:
        """Views at even steps of the camera's path, where it has a frame that near."""
        assert self.motion is not None
        path = camera_path([frame.camera for frame in frames], self.radian)
        low, high = (step * (self.views - 1) for step in self.motion)
        if path[-1] < low:
            raise InvalidRequest(
                f"{frames[0].name}: the camera moves {path[-1]:.3g} in all, {self.views} views need {low:.3g}"
            )
        length = rng.uniform(low, min(high, path[-1]))
        start = rng.uniform(0, path[-1] - length)
        places = start + np.linspace(0, length, self.views)
        views = np.abs(path[:, None] - places).argmin(axis=0)
        if (np.diff(views) < 1).any():
            raise InvalidRequest(f"{frames[0].name}: too few frames for steps of {length / (self.views - 1):.3g}")
        return views.tolist()

    def _by_overlap(self, frames: Sequence[Frame], rng: np.random.Generator) -> list[int]:
        assert self.overlap is not None
        longest = self._longest(frames)
        start = int(rng.integers(len(frames) - self._span(self.min_interval)))
        points = self._points(frames[start])
        longest = min(longest, (len(frames) - 1 - start) // (self.views - 1))
        intervals = range(self.min_interval, longest + 1)
        seen = [sees(frames[start + self._span(interval)].camera, points) for interval in intervals]
        shares = [float(inside.mean()) if len(points) else 0.0 for inside in seen]
        low, high = self.overlap
        fitting = [interval for interval, share in zip(intervals, shares, strict=True) if low <= share <= high]
        if not fitting:
            raise InvalidRequest(
                f"{frames[start].name}: no view {intervals[0]}..{intervals[-1]} x {self.views - 1} frames on overlaps "
                f"{low:g}..{high:g}; they overlap {min(shares):.2f}..{max(shares):.2f}"
            )
        return self._from(start, int(rng.choice(fitting)))

    def _points(self, frame: Frame) -> np.ndarray:
        """(N, 3) world points that a frame sees, on a coarse grid."""
        camera = frame.camera
        if frame.read_depth:
            depth = frame.read_depth()
            step = max(min(depth.shape) // DEPTH_GRID, 1)
            points = unproject(depth, camera)[::step, ::step].reshape(-1, 3)
            return points[np.isfinite(points).all(axis=1)]
        if self.distance is None:
            raise InvalidRequest(f"{frame.name}: has no depth; `distance`, a typical one, is expected for an overlap")
        coarse = camera.resized(DEPTH_GRID, DEPTH_GRID)
        return unproject(np.full((DEPTH_GRID, DEPTH_GRID), self.distance), coarse).reshape(-1, 3)


def camera_path(cameras: Sequence[Camera], radian: float = 1.0) -> np.ndarray:
    """(V,) how far the camera has moved up to every frame: metres, plus `radian` for each radian of turning."""
    steps = [
        float(np.linalg.norm(b.center - a.center)) + radian * rotation_angle(a.c2w, b.c2w)
        for a, b in zip(cameras[:-1], cameras[1:], strict=True)
    ]
    return np.concatenate([[0.0], np.cumsum(steps)])
