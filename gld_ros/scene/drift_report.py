# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the drift monitor, and the report of one check."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gld_ros.errors import InvalidRequest


@dataclass(frozen=True)
class RealityConfig:
    """tolerance: relative depth error up to which a prediction is right; 0.1 is what confidences are calibrated for.

    lifetime: seconds that a prediction waits for an observation. max_views, points_per_view: what is kept at most; the
    oldest view goes first. min_confidence: of an observed pixel. min_points: that have to be expected right for a
    check to say something of trust. fall, rise: share of the way to a lower or higher value that trust goes in a check.
    age_limits (s), distance_limits (m): upper ends of the bins of a report; one more has no end.
    """

    tolerance: float = 0.1
    lifetime: float = 120.0
    max_views: int = 32
    points_per_view: int = 1024
    min_confidence: float = 0.5
    min_points: int = 30
    fall: float = 0.5
    rise: float = 0.1
    age_limits: tuple[float, ...] = (5.0, 15.0, 45.0)
    distance_limits: tuple[float, ...] = (1.0, 2.0, 4.0)

    def __post_init__(self) -> None:
        for name in ("tolerance", "lifetime", "max_views", "points_per_view", "min_points"):
            if not getattr(self, name) > 0:
                raise InvalidRequest(f"reality check: {name} is {getattr(self, name)}, expected a number above 0")
        for name in ("min_confidence", "fall", "rise"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidRequest(f"reality check: {name} is {getattr(self, name)}, expected 0 to 1")


@dataclass(frozen=True)
class Bin:
    """Judged points up to `limit` (s or m, inf in the last). error: their median relative depth error, NaN for none."""

    limit: float
    count: int
    error: float


@dataclass(frozen=True)
class RealityReport:
    """One observation against all predictions that it could judge.

    stamp: ns, of the observation; oldest, newest: ns, of the judged views' newest sources. right, ghosts, missed,
    hidden: points, see the module. error: median of |predicted / observed - 1| along the observation's z.
    colour_error: mean difference of the colours of right points, 0..1, NaN without any. ages, distances: by age and by
    distance from the generating camera. trust: after this check.
    """

    stamp: int
    oldest: int
    newest: int
    right: int
    ghosts: int
    missed: int
    hidden: int
    error: float
    colour_error: float
    ages: tuple[Bin, ...]
    distances: tuple[Bin, ...]
    trust: float

    @property
    def judged(self) -> int:
        """Points with a verdict."""
        return self.right + self.ghosts + self.missed


def bins_of(values: np.ndarray, errors: np.ndarray, limits: Sequence[float]) -> tuple[Bin, ...]:
    """Counts and median errors (N,) of `values` (N,) by the `limits`, ascending; one more bin takes the rest."""
    which = np.digitize(values, limits, right=True)
    found = []
    for k, limit in enumerate((*limits, math.inf)):
        inside = errors[which == k]
        found.append(Bin(limit, len(inside), float(np.median(inside)) if len(inside) else math.nan))
    return tuple(found)
