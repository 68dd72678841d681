# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval`: every method on the same scenes, targets and pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from tqdm import tqdm

from gld_ros.errors import InvalidRequest, ModelError, NoContext, ScaleUnknown
from gld_ros.evaluation.baselines import Picture, depth_warp, source_depths, with_true_depth
from gld_ros.evaluation.encoder_figures import estimate_poses, level_pck
from gld_ros.evaluation.methods import Method
from gld_ros.evaluation.scenes import Scene, unobserved_by_depth
from gld_ros.evaluation.scores import (
    Figures,
    Regions,
    best_of,
    mean_of,
    picture_figures,
    sample_figures,
    scene_figures,
)
from gld_ros.metrics.consistency import Consistency
from gld_ros.metrics.dino import Dino
from gld_ros.metrics.geometry import MIN_POSES, trajectory_errors
from gld_ros.metrics.lpips import LPIPS
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import SourceView

REAL = "real_views"  # the left-out views themselves: what poses and consistency of perfect pictures come to


@dataclass(frozen=True)
class Row:
    """Figures of a method on a scene in one region ("all", "observed", "unobserved"), means over targets, samples."""

    scene: str
    group: str
    method: str
    region: str
    figures: Figures


@dataclass
class Evaluation:
    """Everything that was measured.

    levels: PCK of levels 0..3 of every scene with true depth. scenes: (name, group, number of targets). shares: of
    observed and of unobserved pixels; others are in neither region. refused: (scene, reason). missing: (method,
    scene/target) of pictures that were not there: their method has no figures of that scene. interrupted: the last
    scenes were not reached.
    """

    rows: list[Row] = field(default_factory=list)
    levels: list[list[float]] = field(default_factory=list)
    scenes: list[tuple[str, str, int]] = field(default_factory=list)
    shares: dict[str, tuple[float, float]] = field(default_factory=dict)
    observed_by: dict[str, str] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    pose_failures: list[tuple[str, str]] = field(default_factory=list)
    seconds_per_view: list[tuple[str, float]] = field(default_factory=list)
    interrupted: bool = False

    def add(self, other: Evaluation) -> None:
        """Take in what was measured of other scenes."""
        for name in (f.name for f in fields(self)):
            mine, others = getattr(self, name), getattr(other, name)
            if isinstance(mine, dict):
                mine.update(others)
            elif isinstance(mine, list):
                mine.extend(others)


#: (scene, pictures of each method's first sample, masks of the unobserved pixels): for sheets and saved views.
Watcher = Callable[[Scene, dict[str, list[Picture | None]], list[np.ndarray | None]], None]


def evaluate(
    pipe: GLDPipeline,
    scenes: Iterable[Scene],
    methods: Sequence[Method],
    samples: int = 1,
    seed: int = 0,
    lpips: LPIPS | None = None,
    watch: Watcher | None = None,
    total: int | None = None,
    dino: Dino | None = None,
) -> Evaluation:
    """Score `methods`, the model first. pipe: whose encoder estimates poses. samples: of each random method, with the
    seeds `seed`, `seed` + 1, ... lpips, dino: without them their figures are left out. A scene that the model refuses
    (ScaleUnknown, NoContext) is scored for no method, but named. Ctrl-C ends it with the scenes that are done."""
    if samples < 1:
        raise InvalidRequest(f"{samples} samples; at least 1 is expected")
    found = Evaluation()
    try:
        for scene in tqdm(scenes, desc="eval", total=total, mininterval=2):
            found.add(_evaluate_scene(pipe, scene, methods, samples, seed, lpips, watch, dino))
    except KeyboardInterrupt:
        if not found.scenes:
            raise
        found.interrupted = True
    if not found.scenes:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.refused[:3])
        raise InvalidRequest(f"no scene could be evaluated{': ' + reasons if reasons else ''}")
    return found


def _evaluate_scene(
    pipe: GLDPipeline,
    scene: Scene,
    methods: Sequence[Method],
    samples: int,
    seed: int,
    lpips: LPIPS | None,
    watch: Watcher | None,
    dino: Dino | None,
) -> Evaluation:
    """Evaluate one scene by itself, so that an interrupted one leaves nothing."""
    found = Evaluation()
    try:
        answers = _answers(scene, methods, samples, seed, found)
        consistency = Consistency(dino, scene.sources, source_depths(pipe, scene)) if dino else None
    except (ScaleUnknown, NoContext) as error:
        return Evaluation(refused=[(scene.name, str(error))])
    regions, by = _regions(scene, answers[methods[0].name][0])
    found.scenes.append((scene.name, scene.group, len(scene.targets)))
    found.observed_by[scene.name] = by
    found.shares[scene.name] = (_share(regions, "observed"), _share(regions, "unobserved"))
    for method in methods:
        _score(found, scene, method.name, answers[method.name], regions, lpips, consistency)
    if consistency and (figures := consistency.figures(scene.targets)):
        found.rows.append(Row(scene.name, scene.group, REAL, "all", figures))
    first = {name: drawn[0] for name, drawn in answers.items()}
    _score_encoder(found, scene, pipe, first)
    if watch is not None:
        watch(scene, first, [r.get("unobserved") for r in regions])
    return found


def _answers(
    scene: Scene, methods: Sequence[Method], samples: int, seed: int, found: Evaluation
) -> dict[str, list[list[Picture | None]]]:
    """Samples of every method: method -> sample -> target."""
    answers = {}
    for method in methods:
        drawn = []
        for k in range(samples if method.random else 1):
            started = time.perf_counter()
            drawn.append(method.answer(scene, seed + k))
            seconds = (time.perf_counter() - started) / len(scene.targets)
            found.seconds_per_view.append((method.name, seconds))
        answers[method.name] = drawn
    return answers


def _regions(scene: Scene, model: list[Picture | None]) -> tuple[list[Regions], str]:
    """Masks of every target: all pixels, those the sources show, those they do not; and the authority for that."""
    if scene.source_depths is not None:
        posed = with_true_depth(scene.sources, scene.source_depths)
        by, masks = "true depth", []
        for target in scene.targets:
            seen = depth_warp(posed, target.camera).seen
            assert seen is not None
            masks.append((seen, unobserved_by_depth(scene, target, seen)))
    else:
        by, masks = "the model", [(p.seen, ~p.seen) for p in model if p is not None and p.seen is not None]
    return [{"all": None, "observed": seen, "unobserved": hidden} for seen, hidden in masks], by


def _score(
    found: Evaluation,
    scene: Scene,
    name: str,
    drawn: list[list[Picture | None]],
    regions: list[Regions],
    lpips: LPIPS | None,
    consistency: Consistency | None,
) -> None:
    """Add a method's figures on a scene: means over targets of means over samples; none where a picture is missing, as
    figures over other targets are not to be compared."""
    targets: list[dict[str, Figures]] = []
    for k, target in enumerate(scene.targets):
        pictures = [sample[k] for sample in drawn]
        if any(picture is None for picture in pictures):
            if name != "true_depth_warp":
                found.missing.append((name, f"{scene.name}/{scene.names[k]}"))
            continue
        kept = [picture for picture in pictures if picture is not None]
        samples = [picture_figures(picture, target, regions[k], lpips) for picture in kept]
        figures = {region: mean_of([sample[region] for sample in samples]) for region in samples[0]}
        if len(kept) > 1:
            for extra in (best_of(samples), sample_figures(kept, target, regions[k])):
                figures = {region: values | extra.get(region, {}) for region, values in figures.items()}
        targets.append(figures)
    if len(targets) < len(scene.targets):
        return
    for region in ("all", "observed", "unobserved"):
        of_region = [by_region[region] for by_region in targets if region in by_region]
        if of_region:
            means = mean_of(of_region)
            if region == "all":
                made = [p for p in drawn[0] if p is not None]
                means |= scene_figures(scene, made)
                views = [SourceView(p.image, c, depth=p.depth) for p, c in zip(made, scene.cameras, strict=True)]
                means |= consistency.figures(views) if consistency else {}
            found.rows.append(Row(scene.name, scene.group, name, region, means))


def _score_encoder(
    found: Evaluation, scene: Scene, pipe: GLDPipeline, pictures: dict[str, list[Picture | None]]
) -> None:
    """Add the levels' PCK, and poses estimated from every method's pictures and from the real views."""
    levels = level_pck(pipe, scene)
    if levels is not None:
        found.levels.append(levels)
    if not pipe.generator.has_rays or len(scene.targets) < MIN_POSES:
        return
    true = np.stack([camera.c2w for camera in scene.cameras])
    images = {name: [p.image for p in made if p is not None] for name, made in pictures.items()}
    for name, shown in {**images, REAL: [target.image for target in scene.targets]}.items():
        if len(shown) < len(scene.targets):
            continue
        try:
            errors = trajectory_errors(estimate_poses(pipe, scene.sources, shown), true)
        except ModelError as error:
            found.pose_failures.append((f"{name}: {scene.name}", str(error)))
            continue
        if errors:
            found.rows.append(Row(scene.name, scene.group, name, "poses", errors))


def _share(regions: list[Regions], name: str) -> float:
    """Mean share of a region's pixels over the targets."""
    return float(np.mean([np.mean(mask) for mask in (region[name] for region in regions) if mask is not None]))
