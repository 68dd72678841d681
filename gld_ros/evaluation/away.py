# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval --away`: what a model makes of that which no camera saw, judged as draws from what may be there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gld_ros.errors import GLDError, InvalidRequest
from gld_ros.evaluation.away_metrics import MEET, PATCHES, RATIOS, WITHIN, AwayFigures, scene_figures
from gld_ros.evaluation.methods import Answer, Picture
from gld_ros.evaluation.protocol import Outcome, every_scene
from gld_ros.evaluation.scenes import AwayScene
from gld_ros.metrics.image import DIRECTIONS, PATCH, halves_distance, sliced_wasserstein
from gld_ros.metrics.uncertainty import estimate, estimate_ratio

#: Definitions of the figures. All are over pixels that no source saw by the true depth.
DEFINITIONS = {
    "psnr_db_sample": "PSNR of one sample, mean over samples, dB",
    "psnr_db_best": "PSNR of the best sample",
    "psnr_db_mean": "PSNR of the mean of the samples",
    "psnr_db_fill": "PSNR of the smooth fill: sources warped by the model's own depth, the hole filled by pull-push",
    "psnr_db_mean_minus_fill": "what the model knows beyond the fill",
    "psnr_db_mean_minus_sample": "what one draw loses; about 3 dB of an honest ensemble, less with few samples",
    "sharpness_sample": "gradient energy of a sample over that of the truth, sums over scenes; 1 = as much detail",
    "sharpness_fill": "the same of the fill",
    "depth_abs_rel": "mean |depth - true| / true of the samples' median depth, metric as it is",
    "depth_delta1": "share of the samples' median depths within a factor of 1.25",
    "depth_abs_rel_fill": "depth_abs_rel of the fill",
    "depth_delta1_fill": "depth_delta1 of the fill",
    "spread_skill_color": "spread of the samples over the error of their mean, root mean squares over all scenes, "
    "corrected for the number of samples: 1 = honest, less = too sure",
    "spread_skill_log_depth": "the same of log depth",
    "agreement_within": f"share of depths within {WITHIN:.0%} where two targets of one request show, by the depth of "
    "either, the same point that no source saw; one may hide it",
    "agreement_depth": "median relative difference of depth where two targets of one request show the same point that "
    f"no source saw; where depths differ by more than {MEET:.0%} one hides the other, and nothing is compared; mean "
    "over samples",
    "agreement_psnr_db": "PSNR of the two targets' colours there, read bilinearly",
    "agreement_share": "share of the unobserved pixels and pairs of targets that agreement is measured on",
    "agreement_within_truth": "agreement_within of the true views",
    "agreement_depth_truth": "agreement_depth of the true views",
    "agreement_psnr_db_truth": "agreement_psnr_db of the true views: what reading between pixels leaves",
    "agreement_share_truth": "agreement_share of the true views",
    "patch_distance": f"sliced Wasserstein distance, grey levels, of patches of {PATCH}x{PATCH} pixels with a centre "
    f"that no source saw, at three levels of a Laplacian pyramid (finest first); {PATCHES} of each target and level, "
    f"pooled over all scenes, {DIRECTIONS} directions; from the truth: of the first sample and of the fill; "
    "truth_halves: of two halves of the truth's patches from each other, which is chance alone",
}


@dataclass
class AwayResult:
    """The figures of one scene. unobserved: share of each target's pixels; seconds: of a view, for each request."""

    name: str
    figures: AwayFigures
    unobserved: list[float]
    seconds: list[float]


#: (scene, samples as [sample][target], fill of each target): for the sheet.
AwayWatcher = Callable[[AwayScene, list[list[Picture]], list[Picture]], None]


def evaluate_away(
    scenes: Iterable[AwayScene],
    model: Answer,
    fill: Answer,
    samples: int = 8,
    seed: int = 0,
    watch: AwayWatcher | None = None,
    total: int | None = None,
) -> Outcome[AwayResult]:
    """Score `samples` answers of the model, of the seeds `seed`, `seed` + 1, ..., beside the smooth fill.

    All targets of a scene are one request. Scenes that the model refuses are named. Raises InvalidRequest for fewer
    than 2 samples, otherwise as `every_scene`.
    """
    if samples < 2:
        raise InvalidRequest(f"{samples} samples; at least 2 are expected, as their spread is judged")

    def score(scene: AwayScene) -> AwayResult:
        drawn, seconds = [], []
        for k in range(samples):
            started = time.perf_counter()
            drawn.append(_whole(model(scene.scene, seed + k)))
            seconds.append((time.perf_counter() - started) / len(drawn[-1]))
        smooth = _whole(fill(scene.scene, seed))
        figures = scene_figures(scene, drawn, smooth)
        if watch is not None:
            watch(scene, drawn, smooth)
        return AwayResult(scene.scene.name, figures, [float(where.mean()) for where in scene.unobserved], seconds)

    return every_scene(scenes, score, lambda scene: scene.scene.name, (GLDError,), "eval --away", total)


def _whole(pictures: list[Picture | None]) -> list[Picture]:
    """The same pictures. Raises InvalidRequest if one is missing."""
    kept = [picture for picture in pictures if picture is not None]
    if len(kept) < len(pictures):
        raise InvalidRequest(f"{len(kept)} of {len(pictures)} pictures are there")
    return kept


def away_figures(found: Outcome[AwayResult], samples: int, seed: int = 0) -> dict[str, Any]:
    """The figures of a report. `figures` are {mean, low, high, count} over scenes, 95 % by bootstrap.

    `patch_distance` holds a list of the three scales for each of sample, fill and truth_halves, and sample_over_fill.
    """
    scenes = [scene.figures for scene in found.scenes]
    unobserved = [share for scene in found.scenes for share in scene.unobserved]
    names = dict.fromkeys(name for scene in scenes for name in scene.figures)
    figures = {
        name: asdict(estimate(np.array([s.figures[name] for s in scenes if name in s.figures]), seed=seed))
        for name in names
    }
    for name, (above, below, power) in RATIOS.items():
        pairs = np.array([(s.parts[above], s.parts[below]) for s in scenes if above in s.parts])
        if len(pairs) and pairs[:, 1].all():
            figures[name] = asdict(estimate_ratio(pairs[:, 0], pairs[:, 1], power, seed=seed))
    return {
        "scenes": len(scenes),
        "targets": len(unobserved),
        "samples": samples,
        "refused": found.refusals(),
        "interrupted": found.interrupted,
        "unobserved_share": float(np.mean(unobserved)),
        "seconds_per_view": float(np.median([taken for scene in found.scenes for taken in scene.seconds])),
        "figures": {name: figures[name] for name in DEFINITIONS if name in figures},
        "patch_distance": _patch_distances([scene.patches for scene in scenes if scene.patches], seed),
        "definitions": DEFINITIONS,
    }


def _patch_distances(sets: list[dict[str, list[np.ndarray]]], seed: int) -> dict[str, list[float]]:
    """Patch distances over all scenes together, finest scale first; {} where a scale has less than two."""
    # Patches (n, D) as [scene][kind][scale], joined to (N, D) as [kind][scale].
    pooled = {
        kind: [np.concatenate(scale) for scale in zip(*(scene[kind] for scene in sets), strict=True)]
        for kind in ("truth", "sample", "fill")
    }
    if not sets or min(len(scale) for scale in pooled["truth"]) < 2:
        return {}
    found = {
        kind: [sliced_wasserstein(a, b, seed) for a, b in zip(pooled[kind], pooled["truth"], strict=True)]
        for kind in ("sample", "fill")
    }
    found["truth_halves"] = [halves_distance(scale, seed) for scale in pooled["truth"]]
    # A fill that is as the truth is has no ratio, but must not end the report.
    found["sample_over_fill"] = [a / max(b, 1e-6) for a, b in zip(found["sample"], found["fill"], strict=True)]
    return found
