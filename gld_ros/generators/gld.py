# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""GLD on tensors: condition, level 1, level 0 from it, levels 2 and 3 by propagation, one decoding (spec gld.md).

All views of a request, the sources too, are generated together. The targets' places in the condition are empty in the
released models. Models with warp conditioning (mini) find there what the posed sources show of the target.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.diffusion.flow import time_grid
from gld_ros.diffusion.sampler import Conditioning, Runner, integrate
from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.generators.devices import Residency, has_bfloat16, quantize
from gld_ros.generators.native import NativeSources
from gld_ros.generators.request import Loading, Preset
from gld_ros.generators.warping import WarpedSources, encode_warps, source_geometry, warp_sources
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.dpt import Geometry
from gld_ros.networks.encoder import Level
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.posed_depth import SourceDepth


@dataclass
class SourceLatents:
    """The encoded sources: latents (B, S, ...) of levels 0 and 1, encoded together and without the targets, and the
    raw level-1 camera token (B, 1, C) of the first source encoded alone (None where the latents hold such tokens).

    levels: all four, raw, of models with warp conditioning.
    """

    level0: Tensor
    level1: Tensor
    camera: Tensor | None
    grid: tuple[int, int]
    levels: list[Level] | None = None


@dataclass
class Condition:
    """Latents (B, V, ...) of levels 0 and 1 that generation starts from, sources first; camera: raw level-1 camera
    tokens (B, V, C) or None; warped: the sources in the targets, of models with warp conditioning."""

    level0: Tensor
    level1: Tensor
    camera: Tensor | None
    warped: WarpedSources | None = None

    @property
    def seen(self) -> Tensor | None:
        """(B, N, H, W) bool, what of the targets some source or earlier view shows."""
        return None if self.warped is None else self.warped.seen

    @property
    def preview(self) -> Tensor | None:
        """(3, H, W) of the last target before it is generated."""
        return None if self.warped is None else self.warped.image[0, -1]


@dataclass
class Generated:
    """All views of a request, sources first. level0, level1: latents; features: four levels (B, V, h * w, C) as the
    decoders read them; image: (B, V, 3, H, W) about 0..1, not clamped; geometry: model units, None without a head;
    warped: see `Condition`."""

    level0: Tensor
    level1: Tensor
    features: list[Tensor]
    image: Tensor
    geometry: Geometry | None
    warped: WarpedSources | None = None


def silent(phase: str, preview: Tensor | None = None) -> bool:
    """A report to nobody."""
    return False


class LatentDiffusion:
    """The networks of a GLD at work on one device. `dtype` is that of autocast."""

    def __init__(self, net: GLDNetworks, loading: Loading):
        if loading.offload and (loading.compile or loading.quantize):
            raise ModelError("offload moves the weights: it does not go together with compile or quantize")
        if loading.quantize:  # transformers hold nearly all weights; the others are small, and made of convolutions
            quantize((net.encoder, net.level1, net.level0, net.rgb), loading.quantize)
        self.net, self.device, self.warps = net, loading.device, net.config.warps
        self.residency, self.runner = Residency(net, self.device, loading.offload), Runner(self.device, loading.compile)
        large = any(p.dtype == torch.bfloat16 for p in net.parameters())
        fast = large or (self.warps and has_bfloat16(self.device))
        self.dtype = loading.dtype or (torch.bfloat16 if fast else torch.float32)

    def denoise(
        self,
        images: Tensor,
        K: Tensor,
        c2w: Tensor,
        preset: Preset,
        noise: tuple[Tensor, Tensor] | None = None,
        seed: int = 0,
        report: Callable[..., bool] = silent,
        latents: SourceLatents | None = None,
        depth: SourceDepth | None = None,
        earlier: NativeSources | None = None,
    ) -> Generated:
        """images: (B, S, 3, H, W) 0..1 of the sources; K: (B, V, 3, 3), c2w: (B, V, 4, 4) of sources, then targets.

        preset: says how both levels are sampled. noise: of levels 1 and 0, in the latents' shape; drawn from `seed` by
        default. latents: `latents_of` the images. depth: of the sources, for warp conditioning; posed depth by default.
        earlier: what views generated before, for warp conditioning.
        """
        size = (images.shape[-2], images.shape[-1])
        with torch.inference_mode(), self.autocast():
            latents = latents or self.latents_of(images)
            report("encode")
            cond = self.condition(images, K, c2w, latents, depth, earlier)
            if cond.warped is not None:
                report("condition")
            cameras = RequestCameras(K, c2w, images.shape[1], size, latents.grid, self.net.config.compat, cond.seen)
            noise1, noise0 = self.noise(cond, noise, seed)
            level1 = self.sample("level1", preset, cond, cameras, noise1, None, report)
            level0 = self.sample("level0", preset, cond, cameras, noise0, level1, report)
            features = self.propagate(level0, level1, cond, latents.grid)
            image, geometry = self.decode(features, latents.grid, size)
            return Generated(level0, level1, features, image, geometry, cond.warped)

    def latents_of(self, images: Tensor) -> SourceLatents:
        """Latents of the sources (B, S, 3, H, W)."""
        net = self.net
        with self.autocast(), self.residency.at_work("encoder"):
            levels = net.encoder(images, levels=4 if self.warps else 2)
            camera = None
            if not net.config.level1.special_tokens and not self.warps:
                alone = images.shape[1] == 1
                camera = levels[1].camera if alone else net.encoder(images[:, :1], levels=2)[1].camera
        level0, level1 = net.to_latent(levels[0], 0).float(), net.to_latent(levels[1], 1).float()
        return SourceLatents(level0, level1, camera, levels[0].grid, levels if self.warps else None)

    def condition(
        self,
        images: Tensor,
        K: Tensor,
        c2w: Tensor,
        latents: SourceLatents,
        depth: SourceDepth | None,
        earlier: NativeSources | None = None,
    ) -> Condition:
        """The sources' latents, and in the targets' places zeros or the latents of the warped sources."""
        S, V = images.shape[1], K.shape[1]
        if not self.warps:
            level0, level1 = (
                F.pad(latent, (0, 0, 0, 0, 0, 0, 0, V - S)) for latent in (latents.level0, latents.level1)
            )
            return Condition(level0, level1, None if latents.camera is None else latents.camera.expand(-1, V, -1))
        if depth is None:
            depth = self.geometry(images, K[:, :S], c2w[:, :S], latents)[1]
        if depth is None:
            raise InvalidRequest("one source without depth: nothing can be warped")
        warped = warp_sources(images, depth, K[:, :S], c2w[:, :S], K[:, S:], c2w[:, S:], earlier=earlier)
        with self.residency.at_work("encoder"):
            warps = encode_warps(self.net, images, warped)
        level0, level1 = torch.cat([latents.level0, warps.level0], 1), torch.cat([latents.level1, warps.level1], 1)
        return Condition(level0, level1, warps.camera, warped)

    def geometry(
        self, images: Tensor, K: Tensor, c2w: Tensor, latents: SourceLatents, usable: Tensor | None = None
    ) -> tuple[Geometry, SourceDepth | None]:
        """The geometry of the sources: the head's, and posed depth for warp conditioning (see `source_geometry`)."""
        with self.autocast(), ExitStack() as at_work:
            for name in ("encoder", "dpt", "matching") if self.warps else ("encoder", "dpt"):
                at_work.enter_context(self.residency.at_work(name))
            return source_geometry(self.net, latents.levels or self.net.encoder(images), images, K, c2w, usable)

    def noise(self, cond: Condition, noise: tuple[Tensor, Tensor] | None, seed: int) -> tuple[Tensor, Tensor]:
        """Noise of levels 1 and 0: `noise`, or drawn from `seed`. Raises InvalidRequest for noise of another shape."""
        generator, shape = torch.Generator().manual_seed(seed), cond.level1.shape
        noise = noise or (torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
        for level, given in zip((1, 0), noise, strict=True):
            if given.shape != shape:
                raise InvalidRequest(f"noise of level {level} is {tuple(given.shape)}, expected {tuple(shape)}")
        return noise

    def sample(
        self,
        stage: str,
        preset: Preset,
        cond: Condition,
        cameras: RequestCameras,
        noise: Tensor,
        level1: Tensor | None,
        report: Callable[..., bool],
    ) -> Tensor:
        """Latents (B, V, ...) of "level1" from noise, or of "level0" from noise and level 1."""
        how, flow = preset.sampling[stage], self.net.config.flow
        with self.residency.at_work(stage) as dit:
            assert isinstance(dit, MultiViewDiT)
            base: Tensor = getattr(cond, stage)
            null, null_base = None, None
            if how.guided and not self.warps:
                null = cameras.condition(dit, drop=True)
            elif how.guided and stage == "level1":  # level 0 is not trained without the warped sources
                null = cameras.condition(dit)
                null_base = F.pad(base[:, : cameras.sources], (0,) * 7 + (base.shape[1] - cameras.sources,))
            # Without channels for level 1, level 0 is diffused independently of it.
            given = level1 if dit.config.level1_channels else None
            conditioning = Conditioning(base, cameras.condition(dit), null, given, null_base)
            velocity = self.runner.velocity(dit, flow, conditioning, how)
            times = time_grid(flow, how.steps, noise.shape[1])
            noise = noise.to(self.device)
            return integrate(velocity, noise, times, how.solver, lambda step: report(stage, cond.preview))

    def propagate(self, level0: Tensor, level1: Tensor, cond: Condition, grid: tuple[int, int]) -> list[Tensor]:
        """Four levels as the decoders read them: the frozen encoder goes on from level 1 to levels 2 and 3."""
        with self.residency.at_work("encoder"):
            return self.net.features(level0, level1, grid, cond.camera)

    def decode(
        self, features: list[Tensor], grid: tuple[int, int], size: tuple[int, int]
    ) -> tuple[Tensor, Geometry | None]:
        """Images (B, V, 3, H, W) about 0..1, and geometry in model units, None without a head."""
        with self.residency.at_work("rgb"):
            image = self.net.rgb(features, grid).float()
        if self.net.config.dpt is None:
            return image, None
        with self.residency.at_work("dpt"):
            return image, self.net.dpt(features, grid, size)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
