# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of samples of views that look away, over the pixels that no source saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import torch

from gld_ros.evaluation.methods import Picture
from gld_ros.evaluation.scenes import AwayScene
from gld_ros.evaluation.scores import MIN_REGION, Figures, mean_of
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import project, unproject
from gld_ros.metrics.consistency import FeatureView, read
from gld_ros.metrics.correspondence import shared_pixels
from gld_ros.metrics.geometry import depth_errors, known_pixels
from gld_ros.metrics.image import choose_centres, gradient_energy, patches, psnr
from gld_ros.views import SourceView

PATCHES = 128  # of a target and scale
MEET = 0.25  # depths of two targets that differ by a larger share are two surfaces, one before the other

WITHIN = 0.05  # depths of two targets that differ by less agree

#: Two quantities of a scene whose sums over scenes make a figure: (numerator, denominator, power of the ratio).
RATIOS = {
    "sharpness_sample": ("energy_sample", "energy_truth", 1.0),
    "sharpness_fill": ("energy_fill", "energy_truth", 1.0),
    "spread_skill_color": ("color_variance", "color_error", 0.5),
    "spread_skill_log_depth": ("log_depth_variance", "log_depth_error", 0.5),
}


@dataclass
class AwayFigures:
    """Figures of one scene, or of one target.

    figures: of which the mean is taken; parts: those of RATIOS. patches: of "truth", "sample" (the first) and "fill",
    each a list with an array (n, D) a scale.
    """

    figures: Figures = field(default_factory=dict)
    parts: Figures = field(default_factory=dict)
    patches: dict[str, list[np.ndarray]] = field(default_factory=dict)


def scene_figures(scene: AwayScene, samples: Sequence[Sequence[Picture]], fill: Sequence[Picture]) -> AwayFigures:
    """Means over the targets; agreement of the targets. samples: [sample][target]; fill: [target]."""
    targets = []
    for k, (real, where) in enumerate(zip(scene.scene.targets, scene.unobserved, strict=True)):
        if where.sum() >= MIN_REGION:
            targets.append(target_figures([sample[k] for sample in samples], fill[k], real, where, seed=k))
    found = AwayFigures(
        mean_of([target.figures for target in targets]),
        mean_of([target.parts for target in targets]),
        {
            name: [np.concatenate(sets) for sets in zip(*(target.patches[name] for target in targets), strict=True)]
            for name in ("truth", "sample", "fill")
            if targets
        },
    )
    cameras = scene.scene.cameras
    found.figures |= mean_of([agreement(sample, cameras, scene.unobserved) for sample in samples])
    truth = agreement([Picture(t.image, t.depth) for t in scene.scene.targets], cameras, scene.unobserved)
    found.figures |= {f"{name}_truth": value for name, value in truth.items()}
    return found


def target_figures(
    samples: Sequence[Picture], fill: Picture, real: SourceView, where: np.ndarray, seed: int = 0
) -> AwayFigures:
    """Figures of K samples of one target over the pixels `where` (H, W) bool, at least one.

    seed: of the patches' places.
    """
    images = np.stack([sample.image for sample in samples]).astype(np.float64)
    single = [psnr(image, real.image, where) or 0.0 for image in images]
    mean, smooth = (psnr(image, real.image, where) or 0.0 for image in (images.mean(axis=0), fill.image))
    found = AwayFigures(
        {
            "psnr_db_sample": float(np.mean(single)),
            "psnr_db_best": max(single),
            "psnr_db_mean": mean,
            "psnr_db_fill": smooth,
            "psnr_db_mean_minus_fill": mean - smooth,
            "psnr_db_mean_minus_sample": mean - float(np.mean(single)),
        },
        {
            "energy_sample": float(np.mean([gradient_energy(sample.image, where) for sample in samples])),
            "energy_fill": gradient_energy(fill.image, where),
            "energy_truth": gradient_energy(real.image, where),
            **spread_and_error("color", images[:, where] / 255, real.image[where] / 255),
        },
    )
    centres = choose_centres(where, PATCHES, seed)
    pictures = {"truth": real.image, "sample": samples[0].image, "fill": fill.image}
    found.patches = {name: patches(image, centres) for name, image in pictures.items()}
    _add_depth(found, samples, fill, real, where)
    return found


def _add_depth(
    found: AwayFigures, samples: Sequence[Picture], fill: Picture, real: SourceView, where: np.ndarray
) -> None:
    """Errors of the samples' median depth and of the fill's; spread and error of log depth. Nothing without depths."""
    maps = [sample.depth for sample in samples if sample.depth is not None]
    if real.depth is None or len(maps) < len(samples):
        return
    depths = np.stack(maps)
    median = depth_errors(np.median(depths, axis=0), real.depth, where) or {}
    smooth = {} if fill.depth is None else depth_errors(fill.depth, real.depth, where) or {}
    for errors, ending in ((median, ""), (smooth, "_fill")):
        found.figures |= {f"depth_{name}{ending}": errors[name] for name in ("abs_rel", "delta1") if errors}
    least = depths.min(axis=0)
    known = where & known_pixels(least, real.depth) & (least > 0)
    found.parts |= spread_and_error("log_depth", np.log(depths[:, known]), np.log(real.depth[known]))


def spread_and_error(name: str, samples: np.ndarray, truth: np.ndarray) -> Figures:
    """Mean variance of K samples (K, ...) and mean squared error of their mean; {} for one sample or no values.

    The variance is the unbiased one times (K + 1) / K: if the truth (...) is as another sample, both are equal.
    """
    count = len(samples)
    if count < 2 or not truth.size:
        return {}
    variance = samples.var(axis=0, ddof=1).mean() * (count + 1) / count
    error = np.mean((samples.mean(axis=0) - truth) ** 2)
    return {f"{name}_variance": float(variance), f"{name}_error": float(error)}


def agreement(
    pictures: Sequence[Picture],
    cameras: Sequence[Camera],
    unobserved: np.ndarray,
    pairs: Sequence[tuple[int, int]] | None = None,
) -> Figures:
    """Agreement of the targets of one request where two of them show the same point that no source saw.

    Points of one target's unobserved (T, H, W) pixels, by its own depth, are looked up in another one's that are
    unobserved, too. `agreement_within` is the share of them whose depths differ by less than WITHIN. What meets within
    MEET is compared: median relative difference of depth, PSNR of colours, and the share of all unobserved pixels and
    pairs that this says something about. pairs: of targets, all by default. {} with fewer than MIN_REGION.
    """
    if any(picture.depth is None for picture in pictures):
        return {}
    views = [_with_depth(picture, camera) for picture, camera in zip(pictures, cameras, strict=True)]
    pairs = list(permutations(range(len(views)), 2)) if pairs is None else pairs
    found = [_differences(views[a], views[b], unobserved[a], unobserved[b]) for a, b in pairs]
    depth = np.concatenate([difference for difference, _ in found]) if found else np.empty(0)
    met = depth < MEET
    if met.sum() < MIN_REGION:
        return {}
    error = np.mean(np.concatenate([squares for _, squares in found])[met])
    return {
        "agreement_within": float(np.mean(depth < WITHIN)),
        "agreement_depth": float(np.median(depth[met])),
        "agreement_psnr_db": float(-10 * np.log10(max(error, 1e-10))),
        "agreement_share": int(met.sum()) / sum(int(unobserved[a].sum()) for a, _ in pairs),
    }


def _with_depth(picture: Picture, camera: Camera) -> FeatureView:
    """Colour 0..1 and depth as features (4, H, W)."""
    assert picture.depth is not None
    values = np.concatenate([picture.image / 255, picture.depth[..., None]], axis=2)
    return FeatureView(torch.from_numpy(values).permute(2, 0, 1).double(), picture.depth, camera)


def _differences(
    a: FeatureView, b: FeatureView, hidden: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Relative depth differences (N,) and mean squared colour differences (N,) where pixels of `a` lie in those of `b`.

    hidden, other: (H, W) bool, pixels of `a` and of `b` that count.
    """
    pixels, others = shared_pixels(np.where(hidden, a.depth, np.nan), a.camera, b.depth, b.camera, np.inf)
    column, row = others.astype(int).T
    pixels, others = pixels[other[row, column]], others[other[row, column]]
    column, row = pixels.astype(int).T
    _, z = project(unproject(a.depth, a.camera)[row, column], b.camera)
    there = read(b, others).numpy()
    known = np.isfinite(there[3])
    colours = a.features[:3].numpy()[:, row, column]
    return np.abs(there[3] / z - 1)[known], ((there[:3] - colours) ** 2).mean(axis=0)[known]
