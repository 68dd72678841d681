# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far a view's depth may be off, and how far a request goes beyond what was seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from gld_ros.calibration import RIGHT, Calibration
from gld_ros.errors import NoContext
from gld_ros.geometry.cameras import Camera, RelativeFrame
from gld_ros.geometry.points import overlap
from gld_ros.views import SourceView, View


def confidence(spread: np.ndarray, generated: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """(H, W) float32 probability that the depth is right within 10 %: calibrated, else that of a Laplace error.

    spread: (H, W) expected |log depth error|; generated: (H, W) bool.
    """
    if calibration is not None:
        return calibration.confidence(spread, generated)
    return (1 - np.exp(-RIGHT / spread)).astype(np.float32)


def combine(samples: Sequence[View]) -> View:
    """One view of several samples of the same target: the first sample, and what the others say of it.

    Its spread becomes the expected |log error| of its depth if each sample, with its own Laplace error, is as likely to
    be the truth; confidence and intervals follow. New: `depth_spread` and `color_spread`.
    """
    first = samples[0]
    if len(samples) == 1:
        return first
    spread = np.zeros_like(first.depth)
    for sample in samples:
        away, own = np.abs(np.log(sample.depth / first.depth)), sample.spread
        spread += (away + own * np.exp(-away / own)) / len(samples)
    assert first.spread is not None
    spread = np.where(np.isnan(first.depth), first.spread, spread)  # of margins that a model does not see
    return replace(
        first,
        spread=spread,
        confidence=confidence(spread, first.generated, first.calibration),
        samples=len(samples),
        drawn=tuple(samples),
        complete=all(sample.complete for sample in samples),
        depth_spread=_deviation(np.log(sample.depth / first.depth) for sample in samples),
        color_spread=_deviation((np.float32(sample.image) - first.image) / 255 for sample in samples).mean(axis=-1),
    )


def _deviation(samples: Iterable[np.ndarray]) -> np.ndarray:
    """Standard deviation of several samples, one in memory at a time."""
    count, total, squares = 0, np.zeros((), np.float32), np.zeros((), np.float32)
    for sample in samples:
        count, total, squares = count + 1, total + sample, squares + sample * sample
    return np.sqrt(np.maximum(squares - total * total / count, 0) / (count - 1))


def occupancy(view: View, near: np.ndarray | float, far: np.ndarray | float) -> np.ndarray:
    """(H, W) probability that the surface a pixel shows lies between the depths `near` and `far`, metres.

    From the view's depth and confidence, with a Laplace error of log depth; of all samples if there are several. Use it
    to add obstacles: what is left of 1 does not say that the space is free.
    """
    doubt = np.clip(1 - view.confidence, 1e-6, 1 - 1e-6)
    width = -RIGHT / np.log(doubt)

    def below(depth: np.ndarray | float) -> np.ndarray:
        x = np.log(depth / view.depth) / width
        tail = 0.5 * np.exp(-np.abs(x))
        return np.where(x < 0, tail, 1 - tail)

    return np.clip(below(far) - below(near), 0, 1)


def novelty(sources: Sequence[SourceView], target: Camera) -> float:
    """How far a view goes beyond its sources, before it is made: 0 (a source's own view) to 1 (nothing supports it).

    1 less a product of three: the share of what the target may look at that lies in some source's picture (`overlap`);
    exp(-angle / 60 degrees) of the optical axes to that of the source most alike; and, for a target farther from the
    nearest source than the sources reach, the root of reach / distance. Their reach is their mean distance from each
    other or, with a depth sensor, a quarter of the median depth, if that is more.
    """
    cameras = [source.camera for source in sources]
    distance = min(float(np.linalg.norm(camera.center - target.center)) for camera in cameras)
    turn = min(float(np.arccos(np.clip(camera.c2w[:3, 2] @ target.c2w[:3, 2], -1, 1))) for camera in cameras)
    maps = [source.measured for source in sources]
    depths = [depth for depth in maps if depth is not None and np.isfinite(depth).any()]
    sensed = 0.25 * max((float(np.nanmedian(depth)) for depth in depths), default=0.0)
    reach = max(RelativeFrame(cameras).baseline, sensed)
    nearness = 1.0 if distance <= reach else math.sqrt(reach / distance)
    return 1 - overlap(cameras, target) * math.exp(-turn / math.radians(60)) * nearness


def check_novelty(sources: Sequence[SourceView], targets: Sequence[Camera], limit: float) -> float:
    """The largest novelty of the targets, 0..1. Raises NoContext for the first target above `limit`."""
    novelties = [novelty(sources, target) for target in targets]
    for k, found in enumerate(novelties):
        if found > limit:
            raise NoContext(
                f"target {k} goes too far beyond the sources: its novelty is {found:.2f}, at most {limit:g} is answered"
            )
    return max(novelties)
