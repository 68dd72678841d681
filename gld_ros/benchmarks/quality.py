# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of faster settings: variants against a reference on the same noise, and both against the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gld_ros.benchmarks.latency import Tick, ignore
from gld_ros.benchmarks.requests import Variant
from gld_ros.benchmarks.timing import synchronize
from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.scenes import Scene
from gld_ros.metrics.geometry import depth_errors
from gld_ros.metrics.image import psnr
from gld_ros.metrics.uncertainty import estimate
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import View

#: LPIPS of two (H, W, 3) uint8 images.
Distance = Callable[[np.ndarray, np.ndarray], float]


def measure(
    pipe: GLDPipeline,
    scenes: Iterable[Scene],
    reference: Variant,
    variants: Sequence[Variant],
    lpips: Distance | None = None,
    tick: Tick = ignore,
) -> dict[str, Any]:
    """Figures of the reference and each variant, with 95 % intervals by resampling scenes.

    psnr_db, depth_abs_rel, lpips: against the reference's views of the same seed; psnr_truth_db: against the real view;
    psnr_truth_gain_db: of the variant less the reference's, scene by scene; latency_s: median; speedup: ratio of the
    medians. Raises InvalidRequest without scenes, and what the pipeline raises.
    """
    everything = [reference, *variants]
    seconds: dict[str, list[float]] = {variant.name: [] for variant in everything}
    figures: dict[str, list[dict[str, float]]] = {variant.name: [] for variant in everything}
    if len(seconds) < len(everything):
        raise InvalidRequest(f"variants {', '.join(v.name for v in everything)}: names of their own are expected")
    for seed, scene in enumerate(scenes):
        made: dict[str, list[View]] = {}
        for variant in everything:
            settings = {"strict_scale": False, "seed": seed} | variant.settings
            if seed == 0:  # the first request of its kind may compile and allocate
                pipe(scene.sources, scene.cameras, **settings)
            pipe.forget()  # every variant encodes the sources itself
            synchronize(pipe.device)
            began = time.perf_counter()
            made[variant.name] = pipe(scene.sources, scene.cameras, **settings)
            seconds[variant.name].append(time.perf_counter() - began)
            tick(None)
        truth = against_truth(made[reference.name], scene)
        for name, views in made.items():
            values = {"psnr_truth_db": against_truth(views, scene)}
            if name != reference.name:
                values["psnr_truth_gain_db"] = values["psnr_truth_db"] - truth
                values |= against_reference(views, made[reference.name], lpips)
            figures[name].append(values)
    if not figures[reference.name]:
        raise InvalidRequest("no scenes: at least one is expected")
    base = float(np.median(seconds[reference.name]))
    rows = []
    for variant in everything:
        found = figures[variant.name]
        latency = float(np.median(seconds[variant.name]))
        row: dict[str, Any] = {
            "variant": variant.name,
            "settings": variant.settings,
            "latency_s": latency,
            "speedup": base / latency,
        }
        for name in found[0]:
            known = np.array([scene[name] for scene in found if np.isfinite(scene[name])])
            row[name] = vars(estimate(known)) if known.size else None
        rows.append(row)
    return {"model": pipe.name, "scenes": len(figures[reference.name]), "reference": reference.name, "variants": rows}


def against_truth(views: Sequence[View], scene: Scene) -> float:
    """PSNR to the real views, dB, mean of the targets."""
    pairs = zip(views, scene.targets, strict=True)
    return float(np.mean([psnr(view.image, real.image, real.mask) for view, real in pairs]))


def against_reference(views: Sequence[View], reference: Sequence[View], lpips: Distance | None) -> dict[str, float]:
    """psnr_db, depth_abs_rel and, where asked for, lpips to the reference's views, mean of the targets; NaN where no
    depth is known."""
    pairs = list(zip(views, reference, strict=True))
    depths = [depth_errors(a.depth, b.depth) for a, b in pairs]
    found = {
        "psnr_db": float(np.mean([psnr(a.image, b.image) for a, b in pairs])),
        "depth_abs_rel": float(np.mean([d["abs_rel"] if d else np.nan for d in depths])),
    }
    if lpips is not None:
        found["lpips"] = float(np.mean([lpips(a.image, b.image) for a, b in pairs]))
    return found
