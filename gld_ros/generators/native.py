# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Observed pixels at the camera's own resolution; only what no source saw is left to the model's small picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.generators.method import Pixels, at_size, resize
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.frame import RelativeFrame
from gld_ros.geometry.warp import forward_warp, guided_upsample, pull_push, resample
from gld_ros.networks.posed_depth import SourceDepth
from gld_ros.views import SourceView


@dataclass
class NativeSources:
    """values: (1, V, 4, H, W) colour and expected log depth error; depth: (1, V, H, W) in the frame's unit;
    K: (1, V, 3, 3); c2w: (1, V, 4, 4)."""

    values: Tensor
    depth: Tensor
    K: Tensor
    c2w: Tensor


def native_sources(
    pictures: list[Tensor],
    sources: Sequence[SourceView],
    images: Tensor,
    depth: SourceDepth,
    frame: RelativeFrame,
    limit: int,
) -> NativeSources:
    """Sources at (nearly) their own resolution; their depth follows the edges of their image.

    pictures: (3, H, W) each; images: (1, V, 3, h, w) at the working size with `depth` (1, V, h, w); limit: see
    `native_size`.
    """
    size = native_size(sources[0].camera, limit)
    fine = torch.cat([resize(p[None, None], size) for p in pictures], dim=1)[0]
    coarse = torch.stack([depth.depth[0].reciprocal(), depth.spread[0]], dim=1)
    upsampled = guided_upsample(coarse, images[0], fine)
    fine_depth = upsampled[:, 0].reciprocal()
    for k, source in enumerate(sources):
        if (measured := source.measured) is not None:
            sensor = torch.from_numpy(measured).to(fine.device)[None, None] / frame.unit
            sensor = F.interpolate(sensor, size=size, mode="nearest-exact")[0, 0]
            fine_depth[k] = torch.where(sensor > 0, sensor, fine_depth[k])
    cameras = [s.camera.resized(size[1], size[0]) for s in sources]
    K = torch.tensor(np.stack([c.K for c in cameras]), dtype=torch.float32, device=fine.device)
    c2w = torch.tensor(np.stack([frame.relative(c.c2w) for c in cameras]), dtype=torch.float32, device=fine.device)
    return NativeSources(torch.cat([fine, upsampled[:, 1:]], dim=1)[None], fine_depth[None], K[None], c2w[None])


def paste_observed(
    native: NativeSources,
    image: Tensor,
    depth: Tensor,
    spread: Tensor,
    target: Camera,
    frame: RelativeFrame,
    limit: int,
) -> Pixels:
    """A generated view with all that some source saw taken from there, at the target's size.

    image: (3, h, w) 0..1, of any size; depth: (h, w) metres; spread: (h, w); limit: see `native_size`.
    """
    size = native_size(target, limit)
    camera = target.resized(size[1], size[0])
    K = torch.tensor(camera.K, dtype=torch.float32, device=image.device)[None]
    c2w = torch.tensor(frame.relative(camera.c2w), dtype=torch.float32, device=image.device)[None]
    weight = torch.exp(-4 * native.values[:, :, 3])
    warp = forward_warp(native.values, native.depth, native.K, native.c2w, K, c2w, size, weight)
    warp = resample(warp, native.values, native.depth, native.K, native.c2w, K, c2w)
    painted = F.interpolate(image[None].float(), size=size, mode="bilinear", align_corners=False)
    maps = torch.stack([(depth / frame.unit).log(), spread])[None]
    maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    painted = meet(painted, warp.values[:, :3], warp.seen)
    log_depth = meet(maps[:, :1], warp.depth.clamp_min(1e-9).log()[:, None], warp.seen)[0, 0]
    mask = warp.seen[:, None].float()
    # Feather two pixels into the observed side, so that no seam shows.
    soft = mask * F.avg_pool2d(F.pad(mask, (2, 2, 2, 2), mode="replicate"), 5, 1)
    joined = Pixels(
        torch.lerp(painted, warp.values[:, :3], soft)[0].clamp(0, 1),
        torch.where(warp.seen[0], warp.depth[0], log_depth.exp()) * frame.unit,
        torch.where(warp.seen[0], warp.values[0, 3], maps[0, 1]).clamp_min(1e-3),
        warp.seen[0],
    )
    return at_size(joined, target)


def meet(generated: Tensor, observed: Tensor, seen: Tensor) -> Tensor:
    """`generated` (B, C, H, W) changed smoothly so that it meets `observed` where that was seen (B, H, W).

    The difference between the two is carried into the holes as a membrane, as in seamless cloning (Perez et al. 2003).
    """
    return generated + pull_push(observed - generated, seen)


def native_size(camera: Camera, limit: int) -> tuple[int, int]:
    """(H, W): the camera's own size, or the same aspect with about `limit` pixels where it has more."""
    shrink = min(1.0, math.sqrt(limit / (camera.width * camera.height)))
    return max(1, round(camera.height * shrink)), max(1, round(camera.width * shrink))
