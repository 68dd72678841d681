# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How costs grow with the work (`gld bench growth`): views, pixels, key frames, path length, size of the map.

Each axis has an exponent: the slope of log seconds over log size, by least squares over all sizes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.se3 import look_at
from gld_ros.pipeline.pipeline import GLDPipeline, made_up_views
from gld_ros.pipeline.windows import showing
from gld_ros.scene.key_frames import KeyFrameBuffer, KeyFrameRules, select_sources
from gld_ros.scene.map.config import MapConfig
from gld_ros.scene.map.voxel_map import VoxelMap
from gld_ros.views import SourceView

W, H = 160, 120
K = intrinsics(120.0, 120.0, W / 2, H / 2)
#: Metres from a camera to the wall that fills a map, and what of the wall it sees.
DISTANCE = 2.0
WIDTH = DISTANCE * W / 120
#: Sources of a request, among which the choice is made, and earlier views of a window.
SOURCES, EARLIER = 4, 2


@dataclass(frozen=True)
class Sizes:
    """The sizes along each axis."""

    targets: Sequence[int] = (1, 2, 4, 8)
    sources: Sequence[int] = (2, 3, 4)
    pixels: Sequence[int] = (1, 2, 4)
    key_frames: Sequence[int] = (10, 100, 1_000, 10_000)
    path: Sequence[int] = (10, 100, 1_000)
    voxels: Sequence[int] = (10_000, 100_000, 1_000_000)

    def up_to(self, most: int) -> Sizes:
        """The first two sizes of each axis, and those of the others that are not above `most`."""
        return Sizes(**{name: [*own[:2], *(n for n in own[2:] if n <= most)] for name, own in vars(self).items()})

    @property
    def total(self) -> int:
        """Measurements of all axes."""
        axes = self.targets, self.sources, self.pixels, self.key_frames, self.key_frames, self.path
        return sum(map(len, axes)) + 3 * len(self.voxels)


#: One axis: its name, what is timed, and for each size the work.
Axis = tuple[str, str, Iterator[tuple[float, Callable[[], Any]]]]


def measure(pipe: GLDPipeline, sizes: Sizes, repeat: int, done: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """{"axes": [{"axis", "what", "sizes", "seconds", "exponent"}]}; seconds are the least of `repeat` runs."""
    rows = []
    for axis, what, works in axes(pipe, sizes):
        found = []
        for size, work in works:
            found.append((size, min(_seconds(work) for _ in range(repeat))))
            done()
        x, seconds = zip(*found, strict=True)
        rows.append({"axis": axis, "what": what, "sizes": x, "seconds": seconds, "exponent": exponent(x, seconds)})
    return {"model": pipe.name, "axes": rows}


def axes(pipe: GLDPipeline, sizes: Sizes) -> Iterator[Axis]:
    """All axes, in the order of the table."""
    yield (
        "targets",
        f"{pipe.name}: a request, 2 sources of {W}x{H}",
        ((n, _request(pipe, 2, n, 1)) for n in sizes.targets),
    )
    yield (
        "sources",
        f"{pipe.name}: a request, 1 target of {W}x{H}",
        ((n, _request(pipe, n, 1, 1)) for n in sizes.sources),
    )
    yield (
        "pixels",
        f"{pipe.name}: a request, 2 sources, 1 target",
        ((W * H * n * n, _request(pipe, 2, 1, n)) for n in sizes.pixels),
    )
    yield "key frames", f"choice of {SOURCES} sources for a view", ((n, _choice(n)) for n in sizes.key_frames)
    yield "key frames", "is a new frame a key frame", ((n, _new_frame(n)) for n in sizes.key_frames)
    yield "views of a path", f"choice of {EARLIER} earlier views for a window", ((n, _window(n)) for n in sizes.path)
    maps = [(n, wall_map(n)) for n in sizes.voxels]
    yield "voxels", "a key frame comes into the map", ((n, _key_frame(one)) for n, one in maps)
    yield "voxels", "the map as points", ((n, _points(one)) for n, one in maps)
    yield "voxels", "the map as a grid", ((n, _grid(one)) for n, one in maps)


def exponent(x: Sequence[float], seconds: Sequence[float]) -> float:
    """p of seconds = c x^p."""
    return float(np.polyfit(np.log(x), np.log(seconds), 1)[0])


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _request(pipe: GLDPipeline, sources: int, targets: int, scale: int) -> Callable[[], Any]:
    views, cameras = made_up_views(sources, targets, (H * scale, W * scale))

    def ask() -> None:
        pipe.forget()
        pipe(views, cameras, strict_scale=False)

    ask()
    return ask


def along(count: int) -> list[SourceView]:
    """Views from a path before a wall."""
    image = np.zeros((H, W, 3), np.uint8)
    return [SourceView(image, wall_camera(0.15 * k), k) for k in range(count)]


def wall_camera(x: float) -> Camera:
    """Before a wall, `x` metres along it."""
    eye = np.array([x, 0.0, 0.0])
    return Camera(K, look_at(eye, eye + [0, DISTANCE, 0]), W, H)


def _choice(count: int) -> Callable[[], Any]:
    frames, target = along(count), wall_camera(0.075 * count)
    return lambda: select_sources(frames, [target], SOURCES)


def _new_frame(count: int) -> Callable[[], Any]:
    buffer = KeyFrameBuffer(KeyFrameRules(capacity=count, max_age=1e9), [("camera", view) for view in along(count)])
    new = wall_camera(-5.0)
    return lambda: buffer.wants("camera", new.c2w, count)


def _window(count: int) -> Callable[[], Any]:
    made: Any = along(count)  # only their cameras are looked at
    return lambda: showing(made, [wall_camera(0.15 * count)], EARLIER)


def wall_map(voxels: int) -> VoxelMap:
    """A map with at least so many observed voxels of a long wall."""
    config = MapConfig(voxel_size=0.01, radius=1e5, max_voxels=10 * voxels, confirmations=0, min_confidence=0.0)
    found, k = VoxelMap(config), 0
    while found.sizes()["observed"] < voxels:
        _observe(found, k)
        k += 1
    return found


def _observe(one: VoxelMap, place: int) -> None:
    """A picture of the wall's part number `place`; it clears nothing."""
    sure = np.full((H, W), 0.5, np.float32)
    depth = np.full((H, W), DISTANCE, np.float32)
    one.integrate_observed(depth, np.zeros((H, W, 3), np.uint8), sure, wall_camera(WIDTH * place), carve=False)


def _key_frame(one: VoxelMap) -> Callable[[], Any]:
    places = count(one.counts["observed"])  # each time a part of the wall that the map has not seen
    return lambda: _observe(one, next(places))


def _points(one: VoxelMap) -> Callable[[], Any]:
    return lambda: one.points("observed")


def _grid(one: VoxelMap) -> Callable[[], Any]:
    return lambda: one.occupancy(-1.0, 1.0)
