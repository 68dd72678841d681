# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The drift monitor: what was generated, checked against what is observed at the same place later.

Each predicted point is judged once, by the first newer observation whose pixels say something of it:

    right   it lies on the observed surface
    ghost   the observation looks through it: an obstacle that is not there
    missed  the observed surface lies before it, where the generating view saw free space: an obstacle it left out
    hidden  the observed surface lies before it, but also outside of what the generating view saw: no verdict, it waits

Only rays of a real camera look through anything. The observed pixels of a synthesized view show surfaces, but the space
before those was seen from elsewhere: what lies there is hidden, too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import project, stride_within, world_coordinates
from gld_ros.scene.drift_report import RealityConfig, RealityReport, bins_of
from gld_ros.views import View


@dataclass
class _Prediction:
    """The generated pixels of a view, every `stride`-th row and column.

    depth: (h, w) float32 metres, NaN where not generated. xyz: (N, 3) in the map, rgb: (N, 3), confidence: (N,),
    distance: (N,) metres from the camera, of those that wait for a verdict.
    """

    camera: Camera
    stamp: int
    stride: int
    depth: np.ndarray
    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray
    distance: np.ndarray

    def forget(self, points: np.ndarray) -> None:
        """Those of the indices (M,) `points`: they were judged."""
        for name in ("xyz", "rgb", "confidence", "distance"):
            setattr(self, name, np.delete(getattr(self, name), points, axis=0))

    def saw_through(self, xyz: np.ndarray, tolerance: float) -> np.ndarray:
        """(N,) bool: which points (N, 3) lie well before the surface that was generated on their ray."""
        pixels, z = project(xyz, self.camera)
        rows, columns, inside = _indices(pixels / self.stride + 0.5 - 0.5 / self.stride, z, self.depth.shape)
        claimed = self.depth[rows, columns]
        return inside & (z * (1 + tolerance) < claimed)  # False where it is NaN


@dataclass(frozen=True)
class _Observation:
    """depth: (H + 2, W + 2) metres, NaN where unknown and around; image: (H, W, 3); both of the camera's view."""

    depth: np.ndarray
    image: np.ndarray
    camera: Camera
    real_rays: bool

    def meet(self, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which of the points (N, 3) lie on rays of known depth: (M,) indices, ratio (M,) of their depth to it, and its
        colours (M, 3).

        Of a pixel and its eight neighbours the depth nearest to the point's counts: an object's edge is no error.
        """
        pixels, z = project(xyz, self.camera)
        rows, columns, inside = _indices(pixels, z, self.image.shape[:2])
        points = np.flatnonzero(inside & np.isfinite(self.depth[rows + 1, columns + 1]))
        rows, columns, z = rows[points], columns[points], z[points]
        around = np.stack([self.depth[rows + i, columns + j] for i in range(3) for j in range(3)])
        off = np.abs(np.where(np.isfinite(around), around, np.inf) - z)
        nearest = np.take_along_axis(around, off.argmin(axis=0)[None], axis=0)[0]
        return points, z / nearest, self.image[rows, columns]


@dataclass(frozen=True)
class _Judged:
    """Points of one prediction with a verdict. ratio: predicted / observed depth; right, ghost: (N,) bool."""

    ratio: np.ndarray
    right: np.ndarray
    ghost: np.ndarray
    colour_error: np.ndarray
    confidence: np.ndarray
    distance: np.ndarray
    stamp: np.ndarray
    hidden: int


class DriftMonitor:
    """Remembers generated views and judges them by later observations. Not thread-safe.

    Trust is the factor by which the confidence of generated pixels has to be multiplied to be true. A confidence is
    the probability of being right, so a check measures q = min(1, right points / sum of their confidences), and

        trust += (fall if q < trust else rise) * (q - trust)

    which starts at 1, drops within a few bad checks and recovers slowly. What is remembered has the model's own
    confidence: trust is never measured with trust.
    """

    def __init__(self, config: RealityConfig | None = None) -> None:
        self.config = config or RealityConfig()
        self._predictions: deque[_Prediction] = deque(maxlen=self.config.max_views)
        self._trust = 1.0

    def __len__(self) -> int:
        """Points that wait for a verdict."""
        return sum(len(p.xyz) for p in self._predictions)

    def trust(self) -> float:
        """0..1, see the class."""
        return self._trust

    def trusted(self, view: View) -> View:
        """`view`, fresh from the model, with the confidence of its generated pixels multiplied by trust."""
        if self._trust == 1:
            return view
        factor = np.where(view.generated, np.float32(self._trust), np.float32(1))
        return replace(view, confidence=view.confidence * factor, trust=self._trust)

    def clear(self) -> None:
        """Forget all predictions, as the map's frame or the clock jumped. Trust stays: the model is the same."""
        self._predictions.clear()

    def remember(self, view: View) -> int:
        """Keep the generated pixels of `view`, with the confidence the model gave them; returns how many."""
        stride = stride_within(view.depth.shape, self.config.points_per_view)
        every = (slice(None, None, stride),) * 2
        depth = np.where(view.generated & (view.depth > 0), view.depth, np.float32(np.nan))
        pixels = np.isfinite(depth[every])
        if not pixels.any():
            return 0
        xyz = np.stack(world_coordinates(depth, view.camera, stride, np.float64), axis=-1)[pixels]
        stamp = max(view.source_stamps, default=0)
        self._predictions.append(
            _Prediction(
                camera=view.camera,
                stamp=stamp,
                stride=stride,
                depth=depth[every].copy(),
                xyz=xyz,
                rgb=view.image[every][pixels],
                confidence=np.clip(np.nan_to_num(view.confidence[every][pixels]), 0, 1),
                distance=np.linalg.norm(xyz - view.camera.center, axis=1),
            )
        )
        self._expire(stamp)
        return len(xyz)

    def observe_view(self, view: View) -> RealityReport | None:
        """Judge earlier predictions by the observed pixels of `view`; as `observe`, without ghosts."""
        depth = np.where(view.generated, np.float32(np.nan), view.depth)
        stamp = max(view.source_stamps, default=0)
        return self.observe(depth, view.image, view.confidence, view.camera, stamp, real_rays=False)

    def awaits(self, stamp: int) -> bool:
        """Whether there is anything that an observation of `stamp` (ns) could judge."""
        return any(p.stamp < stamp for p in self._predictions)

    def observe(
        self,
        depth: np.ndarray,
        image: np.ndarray,
        confidence: np.ndarray,
        camera: Camera,
        stamp: int,
        real_rays: bool = True,
    ) -> RealityReport | None:
        """Judge the predictions older than `stamp` (ns); None where the observation says nothing of any.

        depth: (H, W) metres along z, NaN unknown; image: (H, W, 3) uint8; confidence: (H, W) 0..1; all of the camera's
        size. real_rays: a camera was there, so that the space before the surface is free. Raises InvalidRequest for
        other sizes.
        """
        for name, array in (("depth", depth), ("image", image), ("confidence", confidence)):
            if array.shape[:2] != (camera.height, camera.width):
                size = f"{camera.height}x{camera.width}"
                raise InvalidRequest(f"reality check: {name} has the shape {array.shape}, expected {size} pixels")
        self._expire(stamp)
        usable = (depth > 0) & (confidence >= self.config.min_confidence)
        if not self.awaits(stamp) or not usable.any():
            return None
        padded = np.pad(np.where(usable, depth, np.float32(np.nan)), 1, constant_values=np.nan)
        seen = _Observation(padded, image, camera, real_rays)
        parts = [self._judge(p, seen) for p in self._predictions if p.stamp < stamp]
        self._predictions = deque((p for p in self._predictions if len(p.xyz)), self.config.max_views)
        judged = [part for part in parts if len(part.ratio)]
        if not judged:
            return None
        return self._report(judged, sum(part.hidden for part in parts), stamp)

    def _judge(self, prediction: _Prediction, seen: _Observation) -> _Judged:
        """Give a verdict on what the observation shows of `prediction`, and forget those points."""
        low, high = 1 / (1 + self.config.tolerance), 1 + self.config.tolerance
        points, ratio, colours = seen.meet(prediction.xyz)
        right, before, behind = (ratio >= low) & (ratio <= high), ratio < low, ratio > high
        ghost = before & seen.real_rays
        centre = seen.camera.center
        surface = centre + (prediction.xyz[points] - centre) / ratio[:, None]  # observed, on the points' rays
        missed = behind & prediction.saw_through(surface, self.config.tolerance)
        verdict = right | ghost | missed
        done = points[verdict]
        judged = _Judged(
            ratio[verdict],
            right[verdict],
            ghost[verdict],
            np.abs(colours[verdict] - prediction.rgb[done].astype(np.float32)).mean(axis=1) / 255,
            prediction.confidence[done],
            prediction.distance[done],
            np.full(len(done), prediction.stamp),
            int(len(points) - len(done)),
        )
        prediction.forget(done)
        return judged

    def _report(self, parts: Sequence[_Judged], hidden: int, stamp: int) -> RealityReport:
        def all_of(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts])

        config, right, ghost, stamps = self.config, all_of("right"), all_of("ghost"), all_of("stamp")
        error = np.abs(all_of("ratio") - 1)
        self._learn(int(right.sum()), float(all_of("confidence").sum()))
        return RealityReport(
            stamp=stamp,
            oldest=int(stamps.min()),
            newest=int(stamps.max()),
            right=int(right.sum()),
            ghosts=int(ghost.sum()),
            missed=int((~right & ~ghost).sum()),
            hidden=hidden,
            error=float(np.median(error)),
            colour_error=float(all_of("colour_error")[right].mean()) if right.any() else math.nan,
            ages=bins_of((stamp - stamps) * 1e-9, error, config.age_limits),
            distances=bins_of(all_of("distance"), error, config.distance_limits),
            trust=self._trust,
        )

    def _learn(self, right: int, expected: float) -> None:
        """Move trust towards what one check measured: points that were right, and how many were expected to be."""
        if expected < self.config.min_points:
            return
        quality = min(1.0, right / expected)
        share = self.config.fall if quality < self._trust else self.config.rise
        self._trust += share * (quality - self._trust)

    def _expire(self, now: int) -> None:
        """Forget what is more than a lifetime away from `now` (ns), on either side: clocks jump back."""
        limit = self.config.lifetime * 1e9
        kept = (p for p in self._predictions if abs(now - p.stamp) <= limit)
        self._predictions = deque(kept, self.config.max_views)


def _indices(pixels: np.ndarray, z: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns (N,) of the pixels (N, 2) of a picture (H, W), and whether they lie in it and before it."""
    height, width = size
    u, v = pixels.T
    inside = (z > 1e-6) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    columns, rows = (np.where(inside, a, 0).astype(np.intp) for a in (u, v))
    return rows, columns, inside
