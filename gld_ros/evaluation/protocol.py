# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval`: every method on the same scenes, targets and pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from tqdm import tqdm

from gld_ros.errors import GLDError, InvalidRequest, ModelError, NoContext, ScaleUnknown
from gld_ros.evaluation.methods import Method, Picture, depth_warp, source_depths, with_true_depth
from gld_ros.evaluation.scenes import Scene, unobserved_by_depth
from gld_ros.evaluation.scores import (
    Figures,
    Regions,
    best_of,
    estimate_poses,
    level_pck,
    mean_of,
    picture_figures,
    sample_figures,
    scene_figures,
)
from gld_ros.metrics.consistency import Consistency
from gld_ros.metrics.dino import Dino
from gld_ros.metrics.geometry import relative_pose_scores, trajectory_errors
from gld_ros.metrics.lpips import LPIPS
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import SourceView

REAL = "real_views"  # the left-out views themselves: what poses and consistency of perfect pictures come to

#: (scene, pictures of each method's first sample, masks of the unobserved pixels): for sheets and saved views.
Watcher = Callable[[Scene, dict[str, list[Picture | None]], list[np.ndarray | None]], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Outcome(Generic[Result]):
    """Results of the scenes that were evaluated. refused: (scene, reason). interrupted: the last were not reached."""

    scenes: list[Result] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    interrupted: bool = False

    def refusals(self) -> list[dict[str, str]]:
        """The refused scenes as a report names them."""
        return [{"scene": scene, "reason": reason} for scene, reason in self.refused]


def every_scene(
    scenes: Iterable[Item],
    score: Callable[[Item], Result],
    name: Callable[[Item], str],
    refusals: tuple[type[GLDError], ...],
    title: str,
    total: int | None,
) -> Outcome[Result]:
    """Score one scene after the other; those that raise one of `refusals` are named.

    Ctrl-C ends it with the scenes that are done. Raises InvalidRequest where no scene could be evaluated.
    """
    found: Outcome[Result] = Outcome()
    try:
        for scene in tqdm(scenes, desc=title, total=total, mininterval=2):
            try:
                found.scenes.append(score(scene))
            except refusals as error:
                found.refused.append((name(scene), str(error)))
    except KeyboardInterrupt:
        if not found.scenes:
            raise
        found.interrupted = True
    if not found.scenes:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.refused[:3])
        raise InvalidRequest(f"no scene could be evaluated{': ' + reasons if reasons else ''}")
    return found


@dataclass
class SceneResult:
    """Everything that was measured on one scene.

    rows: figures by method and region ("all", "observed", "unobserved", "poses"), means over targets and samples.
    observed_by: the authority for observed pixels. shares: of observed and of unobserved pixels; others are in neither
    region. levels: PCK of levels 0..3, with true depth. seconds: of a view, for every request to a method. missing:
    (method, target) of pictures that were not there: their method has no figures. pose_failures: (method, reason).
    """

    name: str
    group: str
    targets: int
    observed_by: str = ""
    shares: tuple[float, float] = (0.0, 0.0)
    rows: dict[tuple[str, str], Figures] = field(default_factory=dict)
    levels: list[float] | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    missing: list[tuple[str, str]] = field(default_factory=list)
    pose_failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Protocol:
    """The settings of an evaluation: its methods and its metrics.

    pipe: whose encoder estimates poses. methods: the model first. samples: of each random method, with the seeds
    `seed`, `seed` + 1, ... lpips, dino: without them their figures are left out. same_spread: clouds are aligned
    with the scale of Gen3R's evaluation (`umeyama`).
    """

    pipe: GLDPipeline
    methods: Sequence[Method]
    samples: int = 1
    seed: int = 0
    lpips: LPIPS | None = None
    dino: Dino | None = None
    watch: Watcher | None = None
    same_spread: bool = False

    def evaluate(self, scenes: Iterable[Scene], total: int | None = None) -> Outcome[SceneResult]:
        """Score the methods; a scene that the model refuses (ScaleUnknown, NoContext) is scored for none of them."""
        if self.samples < 1:
            raise InvalidRequest(f"{self.samples} samples; at least 1 is expected")
        return every_scene(scenes, self.score, lambda scene: scene.name, (ScaleUnknown, NoContext), "eval", total)

    def score(self, scene: Scene) -> SceneResult:
        """Score all methods on one scene."""
        found = SceneResult(scene.name, scene.group, len(scene.targets))
        answers = {method.name: self._answers(method, scene, found) for method in self.methods}
        consistency = None
        if self.dino:
            consistency = Consistency(self.dino, scene.sources, source_depths(self.pipe, scene))
        regions, found.observed_by = _regions(scene, answers[self.methods[0].name][0])
        found.shares = _share(regions, "observed"), _share(regions, "unobserved")
        for name, drawn in answers.items():
            self._score_method(found, scene, name, drawn, regions, consistency)
        if consistency and (figures := consistency.figures(scene.targets)):
            found.rows[REAL, "all"] = figures
        first = {name: drawn[0] for name, drawn in answers.items()}
        self._score_encoder(found, scene, first)
        if self.watch is not None:
            self.watch(scene, first, [r.get("unobserved") for r in regions])
        return found

    def _answers(self, method: Method, scene: Scene, found: SceneResult) -> list[list[Picture | None]]:
        """A method's pictures by sample and target."""
        drawn = []
        for k in range(self.samples if method.random else 1):
            started = time.perf_counter()
            drawn.append(method.answer(scene, self.seed + k))
            seconds = (time.perf_counter() - started) / len(scene.targets)
            found.seconds.setdefault(method.name, []).append(seconds)
        return drawn

    def _score_method(
        self,
        found: SceneResult,
        scene: Scene,
        name: str,
        drawn: list[list[Picture | None]],
        regions: list[Regions],
        consistency: Consistency | None,
    ) -> None:
        """Add a method's figures: means over targets of means over samples; none where a picture is missing, as
        figures over other targets are not to be compared."""
        targets: list[dict[str, Figures]] = []
        for k, target in enumerate(scene.targets):
            kept = [picture for picture in (sample[k] for sample in drawn) if picture is not None]
            if len(kept) < len(drawn):
                if name != "true_depth_warp":
                    found.missing.append((name, f"{scene.name}/{scene.names[k]}"))
                continue
            samples = [picture_figures(picture, target, regions[k], self.lpips) for picture in kept]
            figures = {region: mean_of([sample[region] for sample in samples]) for region in samples[0]}
            if len(kept) > 1:
                for extra in (best_of(samples), sample_figures(kept, target, regions[k])):
                    figures = {region: values | extra.get(region, {}) for region, values in figures.items()}
            targets.append(figures)
        if len(targets) < len(scene.targets):
            return
        for region in ("all", "observed", "unobserved"):
            if of_region := [by_region[region] for by_region in targets if region in by_region]:
                found.rows[name, region] = mean_of(of_region)
        pictures = [picture for picture in drawn[0] if picture is not None]
        found.rows[name, "all"] |= scene_figures(scene, pictures, self.same_spread)
        if consistency:
            views = [SourceView(p.image, c, depth=p.depth) for p, c in zip(pictures, scene.cameras, strict=True)]
            found.rows[name, "all"] |= consistency.figures(views)

    def _score_encoder(self, found: SceneResult, scene: Scene, pictures: dict[str, list[Picture | None]]) -> None:
        """Add the levels' PCK, and poses estimated from every method's pictures and from the real views."""
        found.levels = level_pck(self.pipe, scene)
        if len(scene.targets) < 2:
            return
        true = np.stack([camera.c2w for camera in scene.cameras])
        shown = {name: [picture for picture in made if picture is not None] for name, made in pictures.items()}
        for name, made in {**shown, REAL: [Picture(target.image) for target in scene.targets]}.items():
            if len(made) < len(scene.targets):
                continue
            try:
                poses = self._poses(scene, made)
            except ModelError as error:
                found.pose_failures.append((f"{name}: {scene.name}", str(error)))
                continue
            if poses is None:
                continue
            if figures := (trajectory_errors(poses, true) or {}) | (relative_pose_scores(poses, true) or {}):
                found.rows[name, "poses"] = figures

    def _poses(self, scene: Scene, pictures: Sequence[Picture]) -> np.ndarray | None:
        """c2w (V, 4, 4) as a method found them, else by the rays of the model; None where nobody says.

        Raises ModelError for rays that are no camera's.
        """
        found = [picture.c2w for picture in pictures if picture.c2w is not None]
        if len(found) == len(pictures):
            return np.stack(found)
        if not self.pipe.generator.has_rays:
            return None
        return estimate_poses(self.pipe, scene.sources, [picture.image for picture in pictures])


def _regions(scene: Scene, model: list[Picture | None]) -> tuple[list[Regions], str]:
    """Pixels of every target that its mask leaves: all, those the sources show, those they do not; and the authority
    for that."""
    if scene.source_depths is not None:
        posed = with_true_depth(scene.sources, scene.source_depths)
        by, masks = "true depth", []
        for target in scene.targets:
            seen = depth_warp(posed, target.camera).seen
            assert seen is not None
            masks.append((seen, unobserved_by_depth(scene, target, seen)))
    else:
        by, masks = "the model", [(p.seen, ~p.seen) for p in model if p is not None and p.seen is not None]
    regions: list[Regions] = []
    for target, (seen, hidden) in zip(scene.targets, masks, strict=False):
        scored = np.ones_like(seen) if target.mask is None else target.mask
        regions.append({"all": target.mask, "observed": seen & scored, "unobserved": hidden & scored})
    return regions, by


def _share(regions: list[Regions], name: str) -> float:
    """Mean share of a region's pixels over the targets."""
    return float(np.mean([np.mean(mask) for mask in (region[name] for region in regions) if mask is not None]))
