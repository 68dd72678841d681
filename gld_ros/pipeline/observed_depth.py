# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth of the sources themselves, as the model finds it: what a map may call observed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gld_ros.generators.method import to_uint8
from gld_ros.generators.presets import EXACT
from gld_ros.generators.synthesis import PosedSources
from gld_ros.geometry.cameras import Camera
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.pipeline.request import check_request, working_size
from gld_ros.views import SourceView


@dataclass(frozen=True)
class ObservedDepth:
    """Of one source, at the size of `camera`, which is the source's or a smaller one.

    depth: (H, W) float32 metres along z. image: (H, W, 3) uint8. confidence: (H, W) float32, 0..1. stamp: ns.
    """

    depth: np.ndarray
    image: np.ndarray
    confidence: np.ndarray
    camera: Camera
    stamp: int


@torch.inference_mode()
def observed_depth(pipe: GLDPipeline, sources: Sequence[SourceView]) -> list[ObservedDepth]:
    """Depth of each source from all of them; costs nothing new where a request had the same sources a moment ago.

    Empty for models that triangulate nothing (the released ones). Raises InvalidRequest, ScaleUnknown.
    """
    synthesis = pipe.synthesis
    if not pipe.net.config.warps:
        return []
    check_request(sources, [sources[0].camera], pipe.net.config, None)
    settings = working_size(sources[0].camera, pipe.net.config), EXACT.pixels
    prepared = synthesis.recent.get(sources, settings, lambda: synthesis.prepare(sources, *settings))
    return _depths(prepared.posed, sources)


@torch.inference_mode()
def just_observed(pipe: GLDPipeline, sources: Sequence[SourceView]) -> list[ObservedDepth]:
    """The same of the `sources` of the request that `pipe` answered last, from what that made of them."""
    prepared = pipe.synthesis.recent.newest
    return [] if prepared is None else _depths(prepared.posed, sources)


def _depths(posed: PosedSources | None, sources: Sequence[SourceView]) -> list[ObservedDepth]:
    if posed is None:
        return []
    native, found = posed.native, []
    for k, source in enumerate(sources):
        depth = (native.depth[0, k] * posed.frame.unit).float().cpu().numpy()
        spread = native.values[0, k, 3].float().clamp_min(1e-3)
        confidence = (1 - torch.exp(-math.log1p(0.1) / spread)).cpu().numpy()
        camera = source.camera.resized(depth.shape[1], depth.shape[0])
        found.append(ObservedDepth(depth, to_uint8(native.values[0, k, :3]), confidence, camera, source.stamp))
    return found
