# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pipeline's input and output: source views, views, scale, observed depth, progress."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gld_ros.calibration import Calibration
from gld_ros.geometry.cameras import Camera

#: Expected log error of a depth sensor's pixels.
SENSOR_SPREAD = 0.02


@dataclass(frozen=True)
class SourceView:
    """One observed image.

    image: (H, W, 3) uint8 RGB, undistorted, of the camera's size.
    camera: its intrinsics and pose.
    stamp: nanoseconds since the epoch of the clock in use; 0 when unknown.
    depth: (H, W) float32 z-depth in metres of a depth sensor, NaN where unknown; None without such a sensor.
    mask: (H, W) bool, False = excluded: no part of the scene, such as people that walk by. None: all pixels count.
    """

    image: np.ndarray
    camera: Camera
    stamp: int = 0
    depth: np.ndarray | None = None
    mask: np.ndarray | None = None

    @property
    def measured(self) -> np.ndarray | None:
        """`depth` as float32 with NaN for all that is not known: not finite (REP 118), not above 0, or excluded."""
        if self.depth is None:
            return None
        depth = self.depth.astype(np.float32)
        known = np.isfinite(depth) & (depth > 0)
        return np.where(known if self.mask is None else known & self.mask, depth, np.float32(np.nan))


@dataclass(frozen=True)
class Scale:
    """Metres per model unit and how it was found.

    value: metres per model unit.
    method: "stereo" (the model's depth aligned with what the posed views show by parallax), "depth" (with that
    of a depth sensor), "poses" (the cameras' distances in the generated views aligned with the known ones) or "unknown"
    (nothing tells: the lengths are no metres).
    residual: robust spread of the logarithm of what is left between the two, 0 = perfect.
    """

    value: float
    method: str
    residual: float


@dataclass(frozen=True)
class View:
    """One synthesized view, all arrays of the size of `camera`.

    image: (H, W, 3) uint8 RGB.
    depth: (H, W) float32 z-depth in metres, NaN where unknown.
    confidence: (H, W) float32, 0..1: probability that `depth` is right within 10 %.
    generated: (H, W) bool, True = made up by the model, False = seen by some source view.
    preset: what it was sampled by; within a time budget it may be a faster one than asked for.
    complete: False where steps were left out, as the time budget ran out.
    spread: (H, W) float32, expected absolute error of log depth as the model states it.
    calibration: what stated spreads were worth on held-out scenes; None: `confidence` takes the model at its word.
    trust: what later observations of earlier views left of that for generated pixels, 0..1; `confidence` has it in it.
    novelty: how far the view goes beyond its sources, 0..1 (`confidence.novelty`).
    samples: how many were drawn. Of several, `image` and `depth` are the first's, spread and confidence speak of all;
    depth_spread: (H, W) standard deviation of their log depths, color_spread: (H, W) of their colours, 0..1;
    drawn: each sample alone.
    estimated_c2w: (4, 4) pose that the generated view implies, in metres, for families that estimate it; else None.
    """

    camera: Camera
    image: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray
    generated: np.ndarray
    scale: Scale
    model: str
    seed: int
    source_stamps: tuple[int, ...] = ()
    preset: str = "exact"
    complete: bool = True
    spread: np.ndarray | None = None
    calibration: Calibration | None = None
    trust: float = 1.0
    novelty: float = 0.0
    samples: int = 1
    depth_spread: np.ndarray | None = None
    color_spread: np.ndarray | None = None
    drawn: tuple[View, ...] = ()
    estimated_c2w: np.ndarray | None = None

    def sample(self, number: int) -> View:
        """One of the samples alone, the last one where fewer were drawn."""
        return self.drawn[min(number, len(self.drawn) - 1)] if self.drawn else self

    @property
    def calibrated(self) -> bool:
        """True if `confidence` was measured on held-out scenes."""
        return self.calibration is not None

    def depth_interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray] | None:
        """Depths (H, W), metres, between which the true ones lie for the share `level` of observed and of generated
        pixels, NaN where that is not known; None for a model that is not calibrated. Raises InvalidRequest for a level
        that was not measured."""
        if self.calibration is None or self.spread is None:
            return None
        factor = np.exp(self.calibration.reach(self.spread, self.generated, level, self.trust))
        return self.depth / factor, self.depth * factor


@dataclass(frozen=True)
class ObservedDepth:
    """Depth of one source as the model finds it, at the size of `camera`: the source's or a smaller one.

    depth: (H, W) float32 metres along z. image: (H, W, 3) uint8. confidence: (H, W) float32, 0..1. stamp: ns.
    measured: (H, W) bool, pixels whose depth is that of a depth sensor; None without one.
    """

    depth: np.ndarray
    image: np.ndarray
    confidence: np.ndarray
    camera: Camera
    stamp: int
    measured: np.ndarray | None = None


@dataclass(frozen=True)
class Progress:
    """One step of a running request, handed to the pipeline's `callback`.

    stage: "encode", what the model samples (of GLD "level1", "level0"), "decode". fraction: of the whole request, 0..1.
    preview: (h, w, 3) uint8 small picture of the current estimate, or None.
    """

    stage: str
    step: int
    steps: int
    fraction: float
    preview: np.ndarray | None = None
