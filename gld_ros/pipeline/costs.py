# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Seconds that a machine needs for the phases of a request, by what is asked for: a linear model of measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from gld_ros.generators.method import Options
from gld_ros.generators.native import native_size
from gld_ros.geometry.cameras import Camera
from gld_ros.networks.configs import ModelConfig

#: Quantile of (measured / modelled) seconds of whole requests that is expected at worst.
QUANTILE = 0.95
#: The least factor between a cost and what it may be at worst; a handful of requests shows little of the tail.
LEAST_SPREAD = 1.15


@dataclass(frozen=True)
class Demand:
    """What a phase works on. tokens: of all views at once, which attention mixes; rows: evaluations (guidance takes
    two); pixels: of images at the cameras' own resolution."""

    tokens: int = 0
    rows: int = 1
    pixels: int = 0

    def features(self) -> tuple[float, ...]:
        """What seconds are linear in, in steps of about a model's usual request."""
        tokens = self.tokens / 1e3
        return (1.0, self.rows * tokens, self.rows * tokens**2, self.pixels / 1e6)


@dataclass(frozen=True)
class CostModel:
    """coefficients: by phase, of `Demand.features`, seconds; none is negative. spread: at worst it takes so many times
    as long."""

    coefficients: dict[str, tuple[float, ...]]
    spread: float

    def seconds(self, phase: str, demand: Demand) -> float:
        """Expected time of a phase, or of one of its steps."""
        return sum(c * f for c, f in zip(self.coefficients[phase], demand.features(), strict=True))

    def schedule(self, demands: dict[str, list[Demand]]) -> dict[str, list[float]]:
        """Expected time of each step of all phases; see `demands`."""
        return {phase: [self.seconds(phase, demand) for demand in steps] for phase, steps in demands.items()}


#: (demand, seconds) of all steps of a phase.
Measured = list[tuple[Demand, float]]


def fit(requests: Sequence[dict[str, Measured]]) -> CostModel:
    """The model of measured requests, each by phase. Relative errors count."""
    phases = dict.fromkeys(phase for request in requests for phase in request)
    coefficients = {}
    for phase in phases:
        measured = [step for request in requests for step in request[phase]]
        features = np.array([demand.features() for demand, _ in measured])
        seconds = np.maximum([s for _, s in measured], 1e-6)
        coefficients[phase] = non_negative(features / seconds[:, None], np.ones(len(measured)))
    model = CostModel(coefficients, 1.0)
    ratios = []
    for request in requests:
        steps = [(phase, *step) for phase in request for step in request[phase]]
        modelled = sum(model.seconds(phase, demand) for phase, demand, _ in steps)
        ratios.append(sum(measured for _, _, measured in steps) / modelled)
    return CostModel(coefficients, max(LEAST_SPREAD, float(np.quantile(ratios, QUANTILE))))


def non_negative(A: np.ndarray, b: np.ndarray) -> tuple[float, ...]:
    """Least squares A x = b with x >= 0, for a few columns: the best of the unconstrained ones on all subsets."""
    best, least = np.zeros(A.shape[1]), float(b @ b)
    for count in range(1, A.shape[1] + 1):
        for columns in map(list, combinations(range(A.shape[1]), count)):
            x = np.zeros(A.shape[1])
            x[columns] = np.linalg.lstsq(A[:, columns], b, rcond=None)[0]
            error = float(((A @ x - b) ** 2).sum())
            if (x >= 0).all() and error < least * (1 - 1e-9):
                best, least = x, error
    return tuple(float(value) for value in best)


def demands(
    config: ModelConfig, sources: Sequence[Camera], targets: Sequence[Camera], options: Options
) -> dict[str, list[Demand]]:
    """The work of each step of all phases; a level has one demand a step."""
    patch = config.encoder.patch
    patches = options.size[0] * options.size[1] // patch**2
    sampling = dict(zip(("level1", "level0"), options.sampling(config.flow), strict=True))
    limit = options.preset.pixels
    views = len(sources) + len(targets)
    between = {}
    if config.warps:
        observed = len(sources) * _pixels(sources[0], limit)
        encode = Demand(len(sources) * patches, pixels=observed)
        decode = Demand(views * patches, pixels=sum(observed + _pixels(target, limit) for target in targets))
        between = {"condition": [Demand(views * patches)]}
    else:
        encode = Demand(len(sources) * patches)
        decode = Demand(views * patches, pixels=sum(target.width * target.height for target in targets))
    levels = {
        level: [
            Demand(views * (patches + config.level1.special_tokens), rows)
            for rows in stage.evaluations(config.flow.t_end)
        ]
        for level, stage in sampling.items()
    }
    return {"encode": [encode], **between, **levels, "decode": [decode]}


def _pixels(camera: Camera, limit: int) -> int:
    height, width = native_size(camera, limit)
    return height * width
