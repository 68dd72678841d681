# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The method, from posed source tensors to a target view's features, colour and depth. Training uses the same steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.diffusion.anytime import OnStep
from gld_ros.diffusion.conditioning import Cameras, camera_conditions
from gld_ros.diffusion.field import Told
from gld_ros.diffusion.sampling import Sampling
from gld_ros.geometry.warp import forward_warp, pull_push, resample
from gld_ros.models.compositor import Composite
from gld_ros.models.dit import MultiViewDiT
from gld_ros.models.dpt import Geometry
from gld_ros.models.gld import GLDNetworks
from gld_ros.models.matching import SourceDepth
from gld_ros.pipeline.engine import Engine


@dataclass
class WarpedSources:
    """The sources seen from the target. image: (B, 3, H, W), holes filled; depth: (B, H, W), holes filled, metres;
    spread: (B, H, W) expected log error; seen: (B, H, W) bool; disagreement: (B, H, W) of the sources' colours."""

    image: Tensor
    depth: Tensor
    spread: Tensor
    seen: Tensor
    disagreement: Tensor


@dataclass
class Condition:
    """What generation starts from: latents (B, V, C, h, w) of levels 0 and 1 with the sources' own features and, for
    the target, those of the warped sources; camera: (B, V, C) raw level-1 camera tokens."""

    warped: WarpedSources
    level0: Tensor
    level1: Tensor
    camera: Tensor
    cameras: Cameras
    uncond: Cameras | None


def source_geometry(net: GLDNetworks, images: Tensor, K: Tensor, c2w: Tensor) -> tuple[Geometry, SourceDepth | None]:
    """The head's geometry of the sources (model units) and, with two sources or more, their depth in the poses' unit.

    images: (B, S, 3, H, W) 0..1; K: (B, S, 3, 3) pixels; c2w: (B, S, 4, 4).
    """
    features, grid = encode_sources(net, images)
    geometry = net.dpt(features, grid, images.shape[-2:])
    return geometry, net.matching(images, K, c2w, features[3], grid) if images.shape[1] > 1 else None


def encode_sources(net: GLDNetworks, images: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
    """The sources' four levels in decoder space, (B, S, h * w, C) each, encoded together and alone; the grid (h, w)."""
    levels = net.encoder(images)
    return [net.encoder.to_decoder(level) for level in levels], levels[0].grid


def warp_sources(
    images: Tensor,
    depth: SourceDepth,
    K: Tensor,
    c2w: Tensor,
    target_K: Tensor,
    target_c2w: Tensor,
    sharp: bool = True,
) -> WarpedSources:
    """Sources (B, S, ...) into one target camera a scene; holes filled by pull-push. sharp: read back, not splatted."""
    values = torch.cat([images.float(), depth.spread[:, :, None]], dim=2)
    size = (images.shape[-2], images.shape[-1])
    weight = depth.confidence().clamp_min(0.05)
    warp = forward_warp(values, depth.depth, K, c2w, target_K, target_c2w, size, weight)
    if sharp:
        warp = resample(warp, values, depth.depth, K, c2w, target_K, target_c2w)
    image = pull_push(warp.values[:, :3], warp.seen)
    inverse = pull_push(warp.depth.clamp_min(1e-9).reciprocal()[:, None], warp.seen)[:, 0]
    spread = pull_push(warp.values[:, 3:], warp.seen)[:, 0]
    disagreement = torch.zeros_like(spread) if warp.disagreement is None else warp.disagreement
    return WarpedSources(image, inverse.reciprocal(), spread, warp.seen, disagreement)


def condition(
    net: GLDNetworks,
    images: Tensor,
    K: Tensor,
    c2w: Tensor,
    depth: SourceDepth,
    target_K: Tensor,
    target_c2w: Tensor,
    guided: bool = True,
) -> Condition:
    """Encode the sources together with what they show of the target. guided: for guidance, too (`Condition.uncond`)."""
    warped = warp_sources(images, depth, K, c2w, target_K, target_c2w)
    level0, level1 = net.encoder(torch.cat([images, warped.image[:, None]], dim=1), levels=2)
    K, c2w = torch.cat([K, target_K[:, None]], dim=1), torch.cat([c2w, target_c2w[:, None]], dim=1)
    return Condition(
        warped,
        net.to_latent(level0, 0).float(),
        net.to_latent(level1, 1).float(),
        level1.camera.float(),
        target_cameras(net, K, c2w, warped.seen, level1.grid),
        target_cameras(net, K, c2w, warped.seen, level1.grid, drop=True) if guided else None,
    )


def target_cameras(
    net: GLDNetworks, K: Tensor, c2w: Tensor, seen: Tensor, grid: tuple[int, int], drop: bool = False
) -> Cameras:
    """What both stages are told of the sources' cameras and of one target's, the last; `drop`: without rays, poses."""
    size = (seen.shape[-2], seen.shape[-1])
    return camera_conditions(net.level1, K, c2w, K.shape[1] - 1, size, grid, net.config.compat, seen, drop)


def predict(
    dit: MultiViewDiT, noisy: Tensor, t: Tensor, base: Tensor, cameras: Cameras, level1: Tensor | None = None
) -> Tensor:
    """The stage's prediction of the clean latents (B, V, C, h, w) from noisy ones at t (B,)."""
    out = dit(noisy, base, t, cameras.camera_map, cameras.tables, cameras.sources, level1).float()
    if dit.config.prediction == "residual":
        return base + out
    return noisy - t[:, None, None, None, None] * out


def sample(
    engine: Engine,
    net: GLDNetworks,
    dit: MultiViewDiT,
    base: Tensor,
    given: Condition,
    noise: Tensor,
    how: Sampling,
    level1: Tensor | None = None,
    on_step: OnStep = lambda step: None,
) -> Tensor:
    """Latents of one stage from noise."""
    told = Told(base, given.cameras, given.uncond, level1)
    return engine.sample(dit, net.config.flow, told, noise, how, on_step)


def decode(net: GLDNetworks, level0: Tensor, level1: Tensor, given: Condition) -> tuple[Composite, Tensor]:
    """The target's colour and depth from generated latents, and the raw RGB decoder's image (B, 3, H, W)."""
    warped = given.warped
    H, W = warped.seen.shape[-2:]
    grid = (level0.shape[-2], level0.shape[-1])
    features = [f[:, -1:] for f in net.features(level0, level1, grid, given.camera)]
    image = net.rgb(features, grid)[:, 0].float()
    depth = net.dpt(features, grid, (H, W)).depth[:, 0].float()
    aligned = depth * align(depth, warped.depth, warped.seen)[:, None, None]
    with torch.autocast(image.device.type, enabled=False):
        parts = warped.image, warped.depth, warped.spread, warped.seen, warped.disagreement
        composite = net.compositor(image, aligned, *parts)
    return composite, image


def align(depth: Tensor, reference: Tensor, seen: Tensor) -> Tensor:
    """(B,) factor that takes depth (B, H, W) to the reference where seen: the median ratio; all pixels if few are."""
    enough = seen.float().mean(dim=(1, 2)) > 0.05
    use = seen | ~enough[:, None, None]
    ratio = torch.where(use, reference / depth.clamp_min(1e-9), torch.nan)
    return ratio.flatten(1).nanmedian(dim=1).values


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, V, C, H, W) to another size, area-averaged when it shrinks."""
    flat = images.flatten(0, 1)
    if flat.shape[-2:] == size:
        return images
    mode = "area" if size[0] <= flat.shape[-2] and size[1] <= flat.shape[-1] else "bilinear"
    return F.interpolate(flat, size=size, mode=mode).unflatten(0, images.shape[:2])
