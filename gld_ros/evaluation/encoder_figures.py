# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of the model's own encoder: poses of views, and matches of its features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gld_ros.evaluation.scenes import Scene
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.native import pictures
from gld_ros.geometry.ray_pose import cameras_from_rays
from gld_ros.metrics.correspondence import pck, true_matches
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import SourceView

PCK_SHARE = 0.1  # of the longer side
PCK_POINTS = 500  # of each pair of views


@torch.inference_mode()
def estimate_poses(pipe: GLDPipeline, sources: Sequence[SourceView], images: Sequence[np.ndarray]) -> np.ndarray:
    """c2w (V, 4, 4) of `images`, encoded together with the sources (the first is the world); up to a scale.

    Raises ModelError where the rays are no camera's.
    """
    gld = GLD.of(pipe.generator)
    features, grid, size = _features(gld, [s.image for s in sources] + list(images), sources[0])
    with gld.diffusion.autocast(), gld.diffusion.residency.at_work("dpt"):
        geometry = gld.net.dpt(features, grid, size)
    assert geometry.rays is not None and geometry.ray_confidence is not None
    cameras = cameras_from_rays(geometry.rays.float(), geometry.ray_confidence.float(), size)
    return cameras.c2w[0, len(sources) :].cpu().numpy()


@torch.inference_mode()
def level_pck(pipe: GLDPipeline, scene: Scene) -> list[float] | None:
    """PCK of levels 0..3 between the first source and every real target, by true depth; None
    without it or for a model without levels."""
    if scene.source_depths is None or not pipe.generator.has_levels:
        return None
    features, grid, _ = _features(
        GLD.of(pipe.generator), [scene.sources[0].image, *(target.image for target in scene.targets)], scene.sources[0]
    )
    camera, values = scene.sources[0].camera, []
    for v, target in enumerate(scene.targets, start=1):
        if target.depth is None or (target.camera.width, target.camera.height) != (camera.width, camera.height):
            continue
        pixels, truth = true_matches(scene.source_depths[0], camera, target.depth, target.camera, PCK_POINTS)
        maps = [f[0].transpose(1, 2).unflatten(2, grid) for f in features]
        shares = [pck(m[0], m[v], pixels, truth, (camera.height, camera.width), PCK_SHARE) for m in maps]
        if shares[0] is not None:
            values.append(shares)
    return np.mean(values, axis=0).tolist() if values else None


def _features(gld: GLD, images: list[np.ndarray], like: SourceView) -> tuple:
    """Levels (1, V, h * w, C) as the decoders read them, their grid, and the size (H, W) the images were brought to."""
    size = gld.working_size(like.camera)
    with torch.inference_mode(), gld.diffusion.autocast(), gld.diffusion.residency.at_work("encoder"):
        levels = gld.net.encoder(pictures(images, size, gld.device))
    return [gld.net.encoder.to_decoder(level) for level in levels], levels[0].grid, size
