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
from dataclasses import dataclass, replace

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import project, stride_within, world_coordinates
from gld_ros.scene.drift_report import RealityConfig, RealityReport, bins_of
from gld_ros.views import View

#: A predicted point: in the map; distance in metres from the camera.
POINT = np.dtype([("xyz", "f8", 3), ("rgb", "u1", 3), ("confidence", "f4"), ("distance", "f8")])
#: A point with a verdict. ratio: predicted / observed depth; stamp: of the prediction.
VERDICT = np.dtype(
    [("ratio", "f8"), ("right", "?"), ("ghost", "?"), ("colour_error", "f4"), ("confidence", "f4"), ("distance", "f8")]
    + [("stamp", "i8")]
)


@dataclass
class _Prediction:
    """The generated pixels of a view, every `stride`-th row and column.

    depth: (h, w) float32 metres, NaN where not generated. points: (N,) of `POINT`, those that wait for a verdict.
    """

    camera: Camera
    stamp: int
    stride: int
    depth: np.ndarray
    points: np.ndarray

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
        return sum(len(p.points) for p in self._predictions)

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
        points = np.empty(np.count_nonzero(pixels), POINT)
        points["xyz"] = np.stack(world_coordinates(depth, view.camera, stride, np.float64), axis=-1)[pixels]
        points["rgb"] = view.image[every][pixels]
        points["confidence"] = np.clip(np.nan_to_num(view.confidence[every][pixels]), 0, 1)
        points["distance"] = np.linalg.norm(points["xyz"] - view.camera.center, axis=1)
        stamp = max(view.source_stamps, default=0)
        self._predictions.append(_Prediction(view.camera, stamp, stride, depth[every].copy(), points))
        self._expire(stamp)
        return len(points)

    def observe_view(self, view: View) -> RealityReport | None:
        """Judge earlier predictions by the observed pixels of `view`; as `observe`, without ghosts."""
        depth = np.where(view.generated, np.float32(np.nan), view.depth)
        stamp = max(view.source_stamps, default=0)
        return self.observe(depth, view.image, view.confidence, view.camera, stamp, real_rays=False)

    def awaits(self, stamp: int) -> bool:
        """True if there is anything that an observation of `stamp` (ns) could judge."""
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
        parts, hidden = zip(*(self._judge(p, seen) for p in self._predictions if p.stamp < stamp), strict=True)
        self._predictions = deque((p for p in self._predictions if len(p.points)), self.config.max_views)
        judged = np.concatenate(parts)
        return self._report(judged, sum(hidden), stamp) if len(judged) else None

    def _judge(self, prediction: _Prediction, seen: _Observation) -> tuple[np.ndarray, int]:
        """Give a verdict on what the observation shows of `prediction`, and forget those points.

        Returns (N,) of `VERDICT`, and how many more are hidden.
        """
        low, high = 1 / (1 + self.config.tolerance), 1 + self.config.tolerance
        xyz = prediction.points["xyz"]
        points, ratio, colours = seen.meet(xyz)
        right, before, behind = (ratio >= low) & (ratio <= high), ratio < low, ratio > high
        ghost = before & seen.real_rays
        centre = seen.camera.center
        surface = centre + (xyz[points] - centre) / ratio[:, None]  # observed, on the points' rays
        missed = behind & prediction.saw_through(surface, self.config.tolerance)
        verdict = right | ghost | missed
        done = prediction.points[points[verdict]]
        judged = np.empty(len(done), VERDICT)
        judged["ratio"], judged["right"], judged["ghost"] = ratio[verdict], right[verdict], ghost[verdict]
        judged["colour_error"] = np.abs(colours[verdict] - done["rgb"].astype(np.float32)).mean(axis=1) / 255
        judged["confidence"], judged["distance"] = done["confidence"], done["distance"]
        judged["stamp"] = prediction.stamp
        prediction.points = np.delete(prediction.points, points[verdict])
        return judged, len(points) - len(done)

    def _report(self, judged: np.ndarray, hidden: int, stamp: int) -> RealityReport:
        config, right, ghost, stamps = self.config, judged["right"], judged["ghost"], judged["stamp"]
        error = np.abs(judged["ratio"] - 1)
        self._learn(int(right.sum()), float(judged["confidence"].sum()))
        return RealityReport(
            stamp=stamp,
            oldest=int(stamps.min()),
            newest=int(stamps.max()),
            right=int(right.sum()),
            ghosts=int(ghost.sum()),
            missed=int((~right & ~ghost).sum()),
            hidden=hidden,
            error=float(np.median(error)),
            colour_error=float(judged["colour_error"][right].mean()) if right.any() else math.nan,
            ages=bins_of((stamp - stamps) * 1e-9, error, config.age_limits),
            distances=bins_of(judged["distance"], error, config.distance_limits),
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
