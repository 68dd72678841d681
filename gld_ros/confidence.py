# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far a view's depth may be off, and how far a request goes beyond what was seen.

A model states a `spread` for every pixel: the expected absolute error of its log depth. A `Calibration` says what that
was worth on held-out scenes, apart for observed and for generated pixels: the probability that the depth is right
within 10 %, and conformal factors of the spread. `gld calibrate-confidence` measures it (evaluation/confidence_fit.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gld_ros.errors import InvalidRequest, NoContext
from gld_ros.files import write_text
from gld_ros.geometry.frame import RelativeFrame
from gld_ros.geometry.frustum import overlap
from gld_ros.plain import to_dict

if TYPE_CHECKING:
    from gld_ros.geometry.cameras import Camera
    from gld_ros.views import SourceView, View

#: Depth is right if its logarithm is off by less, which is 10 %.
RIGHT = math.log1p(0.1)
#: Nominal coverages of the intervals that are calibrated.
LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class RegionCalibration:
    """What the stated spread of observed, or of generated, pixels is worth.

    spread, probability: knots of the falling curve from a pixel's spread to the probability that its depth is right
    within 10 %; linear in log spread, constant beyond the knots. factors: one for each of LEVELS, rising; the log depth
    of that share of the pixels is off by at most factor * spread.
    """

    spread: tuple[float, ...]
    probability: tuple[float, ...]
    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot be a calibration."""
        spread, probability, factors = (np.array(x, float) for x in (self.spread, self.probability, self.factors))
        if not len(spread) or len(spread) != len(probability):
            raise ValueError(
                f"{len(spread)} spreads and {len(probability)} probabilities, as many of both are expected"
            )
        if not (np.isfinite(spread).all() and spread[0] > 0 and (np.diff(spread) > 0).all()):
            raise ValueError(f"spread is {self.spread}, expected rising numbers above 0")
        if not ((probability >= 0) & (probability <= 1)).all() or (np.diff(probability) > 0).any():
            raise ValueError(f"probability is {self.probability}, expected falling numbers of 0 to 1")
        if len(factors) != len(LEVELS) or not (
            np.isfinite(factors).all() and factors[0] > 0 and (np.diff(factors) >= 0).all()
        ):
            raise ValueError(f"factors are {self.factors}, expected {len(LEVELS)} rising numbers above 0, for {LEVELS}")


@dataclass(frozen=True)
class Calibration:
    """Of one model. weights: sha256 of each of its files; native: of observed pixels where a model that warps its
    sources reads them back at the camera's own resolution; fitted: on what, for people."""

    weights: dict[str, str]
    observed: RegionCalibration
    generated: RegionCalibration
    native: RegionCalibration | None = None
    fitted: dict[str, Any] = field(default_factory=dict)

    def at_native(self) -> Calibration:
        """For views at the camera's own resolution."""
        return replace(self, observed=self.native) if self.native else self

    def confidence(self, spread: np.ndarray, generated: np.ndarray) -> np.ndarray:
        """(H, W) float32 probability that the depth is right within 10 %. spread: (H, W); generated: (H, W) bool."""
        log = np.log(spread)
        found = np.interp(log, np.log(self.observed.spread), self.observed.probability).astype(np.float32)
        found[generated] = np.interp(log[generated], np.log(self.generated.spread), self.generated.probability)
        return found

    def reach(self, spread: np.ndarray, generated: np.ndarray, level: float, trust: float = 1.0) -> np.ndarray:
        """(H, W) bound of |log depth error| that holds for the share `level` of observed and of generated pixels.

        trust: share of the generated pixels for which the calibration still holds; of the rest nothing is known, so
        that theirs is the bound of the first higher level that makes up for it, NaN where none of LEVELS does. Raises
        InvalidRequest for a level that is not one of LEVELS.
        """
        check_level(level)
        observed = self.observed.factors[LEVELS.index(level)]
        enough = (factor for at, factor in zip(LEVELS, self.generated.factors, strict=True) if at * trust >= level)
        return spread * np.where(generated, next(enough, math.nan), observed).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(to_dict(self), indent=1) + "\n")


def check_level(level: float) -> None:
    """Raise InvalidRequest for a coverage that is not one of LEVELS."""
    if level not in LEVELS:
        raise InvalidRequest(f"coverage is {level:g}, calibrated are {', '.join(map(str, LEVELS))}")


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
    return replace(
        first,
        spread=spread,
        confidence=confidence(spread, first.generated, first.calibration),
        samples=len(samples),
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


def check_novelty(sources: Sequence[SourceView], targets: Sequence[Camera], limit: float) -> None:
    """Raise NoContext for the first target that goes farther beyond the sources than `limit`, 0..1."""
    for k, target in enumerate(targets):
        if (found := novelty(sources, target)) > limit:
            raise NoContext(
                f"target {k} goes too far beyond the sources: its novelty is {found:.2f}, at most {limit:g} is answered"
            )
