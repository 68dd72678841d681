# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""MEt3R-style consistency (Asim et al. 2024): are DINO features of two views alike where both show the same points?

As MEt3R, but for the geometry: known poses and the depth that a method answers with stand in for DUSt3R's points, and
bilinear interpolation of the patch features for FeatUp's. Figures compare between runs of `gld eval` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.geometry.cameras import Camera, nearest
from gld_ros.metrics.correspondence import shared_pixels
from gld_ros.metrics.dino import Dino
from gld_ros.views import SourceView

MIN_PIXELS = 20  # that two views share; with fewer nothing is said of them
CHUNK = 2**15  # pixels whose features are compared at once


@dataclass(frozen=True)
class FeatureView:
    """A view with features (C, h, w), spread evenly over the picture; depth: (H, W) in the poses' unit."""

    features: Tensor
    depth: np.ndarray
    camera: Camera


class Consistency:
    """Compares any method's views of a scene with each other and with the sources, which are encoded once.

    depths: (H, W) of each source.
    """

    def __init__(self, dino: Dino, sources: Sequence[SourceView], depths: Sequence[np.ndarray]) -> None:
        self.dino = dino
        self.sources = [
            FeatureView(features(dino, source.image), depth, source.camera)
            for source, depth in zip(sources, depths, strict=True)
        ]

    def figures(self, targets: Sequence[SourceView]) -> dict[str, float]:
        """`met3r` over all pairs: each target with its nearest source (`_sources`) and nearest target (`_targets`).

        `met3r_share`: the share of the pixels that a pair shares. Empty where a target has no depth.
        """
        views = [
            FeatureView(features(self.dino, target.image), target.depth, target.camera)
            for target in targets
            if target.depth is not None
        ]
        if len(views) < len(targets):
            return {}
        pairs = {"sources": with_nearest_source(views, self.sources), "targets": with_nearest_target(views)}
        compared = {
            name: [disagreement(*way) for a, b in chosen for way in ((a, b), (b, a))] for name, chosen in pairs.items()
        }
        everything = [value for values in compared.values() for value in values]
        found = {"met3r_share": float(np.mean([share for _, share in everything]))}
        for name, values in {"met3r": everything, **{f"met3r_{name}": v for name, v in compared.items()}}.items():
            known = [value for value, _ in values if value is not None]
            if known:
                found[name] = float(np.mean(known))
        return found


Pairs = list[tuple[FeatureView, FeatureView]]


def with_nearest_source(views: Sequence[FeatureView], sources: Sequence[FeatureView]) -> Pairs:
    """Each view and the source nearest in pose."""
    cameras = [source.camera for source in sources]
    return [(view, sources[nearest(view.camera, cameras)]) for view in views]


def with_nearest_target(views: Sequence[FeatureView]) -> Pairs:
    """Each view and the other one nearest in pose, every pair once."""
    chosen = set()
    for k, view in enumerate(views):
        others = [i for i in range(len(views)) if i != k]
        if others:
            found = others[nearest(view.camera, [views[i].camera for i in others])]
            chosen.add((min(k, found), max(k, found)))
    return [(views[a], views[b]) for a, b in sorted(chosen)]


@torch.inference_mode()
def disagreement(view: FeatureView, other: FeatureView) -> tuple[float | None, float]:
    """1 - cosine similarity, mean over the pixels of `view` that `other` shows, too, and the share of such pixels.

    None for the former with fewer than MIN_PIXELS of them.
    """
    pixels, others = shared_pixels(view.depth, view.camera, other.depth, other.camera)
    share = len(pixels) / view.depth.size
    if len(pixels) < MIN_PIXELS:
        return None, share
    total = 0.0
    for start in range(0, len(pixels), CHUNK):
        a, b = read(view, pixels[start : start + CHUNK]), read(other, others[start : start + CHUNK])
        total += float((1 - F.cosine_similarity(a, b, dim=0)).sum())
    return total / len(pixels), share


def read(view: FeatureView, pixels: np.ndarray) -> Tensor:
    """Features (C, N) at pixels (N, 2) of the view, bilinear between the centres of patches."""
    where = pixels / [view.camera.width, view.camera.height] * 2 - 1
    grid = torch.from_numpy(where).to(view.features)[None, None]
    return F.grid_sample(view.features[None], grid, align_corners=False, padding_mode="border")[0, :, 0]


@torch.inference_mode()
def features(dino: Dino, image: np.ndarray) -> Tensor:
    """Final patch features (384, h, w) of an (H, W, 3) uint8 image.

    Its shorter side is enlarged to DINO's 224 pixels if it has fewer, both are rounded to whole patches.
    """
    height, width = image.shape[:2]
    scale = max(1.0, dino.SIDE / min(height, width)) / dino.PATCH
    grid = round(height * scale), round(width * scale)
    size = (grid[0] * dino.PATCH, grid[1] * dino.PATCH)
    pixels = torch.from_numpy(image).to(dino.cls_token.device).permute(2, 0, 1)[None].float() / 255
    pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return dino(pixels)[-1][0].T.unflatten(1, grid)
