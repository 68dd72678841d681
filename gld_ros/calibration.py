# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration of a model's stated spread of depth, measured on held-out scenes.

A model states a `spread` for every pixel: the expected absolute error of its log depth. A `Calibration` says what that
was worth, apart for observed and for generated pixels: the probability that the depth is right within 10 %, and
conformal factors of the spread. `gld calibrate-confidence` measures it (evaluation/confidence_fit.py).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.files import write_text
from gld_ros.plain import to_dict

#: Depth is right if its logarithm is off by less, which is 10 %.
RIGHT = math.log1p(0.1)
#: Nominal coverages of the intervals that are calibrated.
LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class RegionCalibration:
    """Calibration of the stated spread of observed, or of generated, pixels.

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
    """The calibration of one model.

    weights: sha256 of each of its files. native: of observed pixels where a model that warps its sources reads them
    back at the camera's own resolution. fitted: the rooms and the command it was fitted with, for people.
    """

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
