# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Warp conditioning: what the posed sources show of each target, as images and as latents. Training uses it, too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.errors import NoContext
from gld_ros.generators.native import NativeSources
from gld_ros.geometry.warp import Warp, forward_warp, pull_push, resample
from gld_ros.networks.dpt import Geometry
from gld_ros.networks.encoder import Level
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.posed_depth import SourceDepth


@dataclass
class WarpedSources:
    """The sources seen from N targets, with holes filled smoothly. image: (B, N, 3, H, W) 0..1; depth: (B, N, H, W) in
    the poses' unit; spread: (B, N, H, W) expected error of log depth; observed: (B, N, H, W) bool, where a source shows
    something; seen: (B, N, H, W) bool, where a source or an earlier view does."""

    image: Tensor
    depth: Tensor
    spread: Tensor
    observed: Tensor
    seen: Tensor


@dataclass
class WarpLatents:
    """Latents (B, N, C, h, w) of the warped sources, encoded together with the sources themselves, and the raw level-1
    camera tokens (B, S + N, C) of that encoding."""

    level0: Tensor
    level1: Tensor
    camera: Tensor


def source_geometry(
    net: GLDNetworks, levels: list[Level], images: Tensor, K: Tensor, c2w: Tensor, usable: Tensor | None = None
) -> tuple[Geometry, SourceDepth | None]:
    """The head's geometry of the sources (model units) and, of two sources or more, posed depth in the poses' unit.

    levels: all four of the encoder; images: (B, S, 3, H, W) 0..1; K: (B, S, 3, 3) pixels; c2w: (B, S, 4, 4).
    usable: (B, S, H, W) bool; depth elsewhere is NaN.
    """
    grid = levels[0].grid
    features = [net.encoder.to_decoder(level) for level in levels]
    geometry = net.dpt(features, grid, (images.shape[-2], images.shape[-1]))
    posed = net.config.warps and images.shape[1] > 1
    stereo = net.matching(images, K, c2w, features[3], grid, usable) if posed else None
    return without_excluded(geometry, usable), stereo


def without_excluded(geometry: Geometry, usable: Tensor | None) -> Geometry:
    """The geometry of V views with unknown depth and rays of no weight where the first S are not `usable`
    (B, S, H, W)."""
    if usable is None:
        return geometry
    usable = F.pad(usable, (0, 0, 0, 0, 0, geometry.depth.shape[1] - usable.shape[1]), value=True)
    weight = geometry.ray_confidence
    if weight is not None:
        weight = weight * (F.interpolate(usable.float(), size=weight.shape[-2:], mode="area") > 0.999)
    return replace(geometry, depth=torch.where(usable, geometry.depth, torch.nan), ray_confidence=weight)


def warp_sources(
    images: Tensor,
    depth: SourceDepth,
    K: Tensor,
    c2w: Tensor,
    target_K: Tensor,
    target_c2w: Tensor,
    sharp: bool = True,
    earlier: NativeSources | None = None,
) -> WarpedSources:
    """Splat the sources into every target by their depth, then read them back along the splatted depth.

    images: (B, S, 3, H, W) 0..1; K: (B, S, 3, 3) pixels; c2w: (B, S, 4, 4); target_K, target_c2w: (B, N, ...).
    sharp: False leaves the reading back out, for comparison. earlier: what views generated before; it is shown where no
    source shows anything.
    """
    B, N = target_K.shape[:2]
    size = (images.shape[-2], images.shape[-1])
    camera = target_K.flatten(0, 1), target_c2w.flatten(0, 1)

    def for_each(x: Tensor) -> Tensor:
        return x.repeat_interleave(N, dim=0)

    def warped(given: NativeSources) -> Warp:
        posed = for_each(given.values), for_each(given.depth), for_each(given.K), for_each(given.c2w)
        certain = SourceDepth(posed[1], posed[0][:, :, 3]).confidence().clamp_min(0.05)
        warp = forward_warp(*posed, *camera, size, certain)
        return resample(warp, *posed, *camera) if sharp else warp

    warp = warped(NativeSources(torch.cat([images.float(), depth.spread[:, :, None]], dim=2), depth.depth, K, c2w))
    observed = warp.seen
    if earlier is not None:
        other = warped(earlier)
        values = torch.where(observed[:, None], warp.values, other.values)
        warp = Warp(values, torch.where(observed, warp.depth, other.depth), observed | other.seen)
    values = pull_push(warp.values, warp.seen)
    inverse = pull_push(warp.depth.clamp_min(1e-9).reciprocal()[:, None], warp.seen)[:, 0]
    found = values[:, :3], inverse.reciprocal(), values[:, 3], observed, warp.seen
    return WarpedSources(*(x.unflatten(0, (B, N)) for x in found))


def encode_warps(net: GLDNetworks, images: Tensor, warped: WarpedSources) -> WarpLatents:
    """The warped sources as the encoder sees them beside the sources (B, S, 3, H, W)."""
    S = images.shape[1]
    level0, level1 = net.encoder(torch.cat([images, warped.image], dim=1), levels=2)
    latent0, latent1 = net.to_latent(level0, 0)[:, S:].float(), net.to_latent(level1, 1)[:, S:].float()
    return WarpLatents(latent0, latent1, level1.camera.float())


def align(depth: Tensor, reference: Tensor, seen: Tensor) -> Tensor:
    """The factor (B,) that takes depth (B, V, H, W) to the reference where seen: the median ratio over all views."""
    ratio = torch.where(seen, reference / depth.clamp_min(1e-9), torch.nan)
    return ratio.flatten(1).nanmedian(dim=1).values


def aligned(depth: Tensor, sources: SourceDepth, warped: WarpedSources | None) -> Tensor:
    """Depth (1, V, h, w) of all views in the unit of the sources' depth.

    The head's depth of all views has one unit. It is aligned with the sources' own, in the sources and wherever the
    targets show what they saw. Raises NoContext for a target that shows nothing of the sources.
    """
    assert warped is not None
    for number, target in enumerate(warped.observed[0]):
        if not target.any():
            raise NoContext(f"target {number}: nothing that the sources see is in its picture")
    seen = torch.cat([torch.ones_like(sources.depth, dtype=torch.bool), warped.observed], dim=1)
    known = torch.cat([sources.depth, warped.depth], dim=1)
    return depth * align(depth, known, seen)[:, None, None, None]
