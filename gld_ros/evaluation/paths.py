# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval --path N`: do neighbouring views of a path away from the sources show one world?

The same poses, sources and seed: as one request, in windows that know nothing of each other, and one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gld_ros.errors import GLDError
from gld_ros.evaluation.away_metrics import MEET, WITHIN, agreement
from gld_ros.evaluation.methods import Picture
from gld_ros.evaluation.protocol import Outcome, every_scene
from gld_ros.evaluation.scenes import AwayScene
from gld_ros.evaluation.scores import MIN_REGION, Figures, mean_of
from gld_ros.metrics.geometry import depth_errors
from gld_ros.metrics.image import psnr
from gld_ros.metrics.uncertainty import estimate
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.pipeline.windows import next_window, with_sources
from gld_ros.views import View

TRUTH = "truth"
#: What the figures are. All are over pixels that no source saw by the true depth.
DEFINITIONS = {
    "agreement_within": f"share of depths within {WITHIN:.0%} where a view and the next one of the path show the same "
    "point, by the depth of either",
    "agreement_psnr_db": f"PSNR of their colours where the depths differ by less than {MEET:.0%}",
    "agreement_share": "share of the unobserved pixels and pairs of views that this is measured on",
    "psnr_db": "PSNR to the true view",
    "depth_abs_rel": "mean |depth - true| / true, metric as it is",
    "seconds": "of a view: the time of the whole path over the number of its views",
}
#: One way to make the views of a path.
Way = Callable[[AwayScene, int], Sequence[View]]


def ways(pipe: GLDPipeline, **options: Any) -> dict[str, Way]:
    """The ways that are compared. `options` go to the pipeline."""

    def together(scene: AwayScene, seed: int) -> list[View]:
        return pipe(scene.scene.sources, scene.scene.cameras, seed=seed, **options)

    def apart(scene: AwayScene, seed: int) -> list[View]:
        sources, left, views = scene.scene.sources, scene.scene.cameras, []
        while left:
            window = next_window([], left, pipe.max_views, with_sources(sources))
            views += pipe(sources, window.targets, seed=seed, **options)
            left = left[len(window.targets) :]
        return views

    def alone(scene: AwayScene, seed: int) -> list[View]:
        return [pipe(scene.scene.sources, [camera], seed=seed, **options)[0] for camera in scene.scene.cameras]

    return {"one request": together, "windows apart": apart, "one by one": alone}


@dataclass
class PathResult:
    """The figures of one path, by way. unobserved: share of its pixels."""

    name: str
    figures: dict[str, Figures]
    unobserved: float


def evaluate_paths(
    scenes: Iterable[AwayScene], ways: dict[str, Way], seed: int = 0, total: int | None = None
) -> Outcome[PathResult]:
    """Score each way, and the true views, on each path. Paths that a way refuses are named. Raises as `every_scene`."""

    def score(scene: AwayScene) -> PathResult:
        rows = {}
        for name, way in ways.items():
            started = time.perf_counter()
            pictures = [Picture(view.image, view.depth) for view in way(scene, seed)]
            seconds = (time.perf_counter() - started) / len(pictures)
            rows[name] = neighbours_agree(pictures, scene) | truth_of(pictures, scene) | {"seconds": seconds}
        real = [Picture(target.image, target.depth) for target in scene.scene.targets]
        rows[TRUTH] = neighbours_agree(real, scene)
        return PathResult(scene.scene.name, rows, float(scene.unobserved.mean()))

    return every_scene(scenes, score, lambda scene: scene.scene.name, (GLDError,), "eval --path", total)


def neighbours_agree(pictures: Sequence[Picture], scene: AwayScene) -> Figures:
    """Agreement of each view and the next one of the path."""
    neighbours = [pair for k in range(len(pictures) - 1) for pair in ((k, k + 1), (k + 1, k))]
    found = agreement(pictures, scene.scene.cameras, scene.unobserved, neighbours)
    return {name: found[name] for name in DEFINITIONS if name in found}


def truth_of(pictures: Sequence[Picture], scene: AwayScene) -> Figures:
    """Figures of the views against the true ones, means over the views."""
    found = []
    for picture, real, where in zip(pictures, scene.scene.targets, scene.unobserved, strict=True):
        if where.sum() >= MIN_REGION:
            assert picture.depth is not None and real.depth is not None
            depth = depth_errors(picture.depth, real.depth, where) or {}
            values = {"psnr_db": psnr(picture.image, real.image, where), "depth_abs_rel": depth.get("abs_rel")}
            found.append({name: value for name, value in values.items() if value is not None})
    return mean_of(found)


def path_report(found: Outcome[PathResult], seed: int = 0) -> dict[str, Any]:
    """The figures of a report: {mean, low, high, count} over paths for each way, 95 % by bootstrap."""
    rows: dict[str, dict[str, Any]] = {}
    for name in found.scenes[0].figures:
        scenes = [scene.figures[name] for scene in found.scenes]
        known = {figure: [s[figure] for s in scenes if figure in s] for figure in DEFINITIONS}
        rows[name] = {f: asdict(estimate(np.array(values), seed=seed)) for f, values in known.items() if values}
    return {
        "scenes": len(found.scenes),
        "refused": found.refusals(),
        "interrupted": found.interrupted,
        "unobserved_share": float(np.mean([scene.unobserved for scene in found.scenes])),
        "ways": rows,
        "definitions": DEFINITIONS,
    }
