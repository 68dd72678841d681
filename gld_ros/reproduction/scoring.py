# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of generated views of held-out rooms: one value a scene, the same scenes and noise for all."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gld_ros.data.clips import ClipBatch
from gld_ros.metrics.geometry import align_depth, depth_errors
from gld_ros.metrics.image import psnr, ssim_map
from gld_ros.networks.gld import GLDNetworks
from gld_ros.reproduction.plans import Plan
from gld_ros.reproduction.rooms import SOURCES
from gld_ros.training.flow_stage import FlowStage
from gld_ros.training.latents import GeometricLatents

Figures = dict[str, list[float]]


def scene_noise(batch: ClipBatch, shape: tuple[int, int, int]) -> Tensor:
    """Noise (B, V, C, h, w) that depends on the scene alone."""
    noise = []
    for name in batch.names:
        generator = torch.Generator().manual_seed(int(name.rpartition("-")[2]))
        noise.append(torch.randn(batch.images.shape[1], *shape, generator=generator))
    return torch.stack(noise).to(batch.images.device)


@torch.no_grad()
def generate(stages: list[FlowStage], batch: ClipBatch, plan: Plan) -> dict[int, Tensor]:
    """Latents by level of all views, by one stage or by several in turn; without guidance."""
    sources = batch.images[:, :SOURCES]
    noise = scene_noise(batch, stages[0].space.shape((plan.size, plan.size)))
    latents: dict[int, Tensor] = {}
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
        for stage in stages:
            given = None if stage.given is None else latents[stage.given]
            # Independent stages get noise of their own, as they would in any sampler.
            latents[stage.level] = stage.eval().sample(
                sources, batch.K, batch.c2w, given, noise.roll(len(latents), 2), plan.sampling_steps, guidance=1.0
            )
    return latents


def picture_figures(images: Tensor, batch: ClipBatch) -> Figures:
    """PSNR and SSIM of the targets of (B, V, 3, H, W), means over a scene's targets."""
    figures: Figures = {"psnr": [], "ssim": [], "psnr_between": [], "psnr_beyond": []}
    for pictures, real in zip(to_pixels(images), to_pixels(batch.images), strict=True):
        pairs = list(zip(pictures[SOURCES:], real[SOURCES:], strict=True))
        between, beyond = (float(psnr(a, b) or 0) for a, b in pairs)
        figures["psnr_between"].append(between)
        figures["psnr_beyond"].append(beyond)
        figures["psnr"].append((between + beyond) / 2)
        figures["ssim"].append(float(np.mean([ssim_map(a, b) for a, b in pairs])))
    return figures


def copy_figures(batch: ClipBatch) -> Figures:
    """Figures of copies of the nearest source."""
    return picture_figures(nearest_sources(batch), batch)


def to_pixels(images: Tensor) -> np.ndarray:
    """(B, V, H, W, 3) uint8."""
    return (images.float().clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()


@torch.no_grad()
def free_depth(net: GLDNetworks, space: GeometricLatents, latents: dict[int, Tensor], batch: ClipBatch) -> Tensor:
    """Depth (B, V, H, W) that the geometry head reads off generated levels."""
    features, grid = space.features(latents, batch.images[:, :SOURCES])
    return net.dpt(features, grid, batch.images.shape[-2:]).depth


def depth_figures(depth: Tensor, batch: ClipBatch) -> Figures:
    """AbsRel and delta1 of the targets, each brought to the true depth by the ratio of the medians."""
    assert batch.depth is not None
    figures: Figures = {"depth_abs_rel": [], "depth_delta1": []}
    for estimated, real in zip(depth.cpu().numpy(), batch.depth.cpu().numpy(), strict=True):
        pairs = list(zip(estimated[SOURCES:], real[SOURCES:], strict=True))
        errors = [depth_errors(align_depth(a, b, "median"), b) for a, b in pairs]
        for name, figure in (("depth_abs_rel", "abs_rel"), ("depth_delta1", "delta1")):
            figures[name].append(float(np.mean([e[figure] for e in errors if e is not None])))
    return figures


def nearest_sources(batch: ClipBatch) -> Tensor:
    """Every target replaced by the source whose camera is nearest, (B, V, 3, H, W)."""
    distance = torch.cdist(batch.c2w[:, SOURCES:, :3, 3], batch.c2w[:, :SOURCES, :3, 3])
    chosen = distance.argmin(dim=-1)
    copies = torch.stack([images[index] for images, index in zip(batch.images, chosen, strict=True)])
    return torch.cat([batch.images[:, :SOURCES], copies], dim=1)
