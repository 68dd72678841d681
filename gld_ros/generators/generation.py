# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""GLD on tensors: condition, level 1, level 0 from it, levels 2 and 3 by propagation, one decoding (spec gld.md).

All views of a request, the sources too, are generated together. The targets' places in the condition are empty in the
released models. Models with warp conditioning find there what the posed sources show of the target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.diffusion.sampler import Conditioning, Sampler, Sampling
from gld_ros.errors import InvalidRequest
from gld_ros.generators.offload import Residency
from gld_ros.generators.warping import WarpedSources, encode_warps, source_geometry, warp_sources
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.dpt import Geometry
from gld_ros.networks.encoder import Level
from gld_ros.networks.posed_depth import SourceDepth

#: A stage's name, the step done, 1 ... steps, and a small picture (3, h, w) or None; True ends the stage.
OnStep = Callable[[str, int, Tensor | None], bool | None]


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


def silent(stage: str, step: int, preview: Tensor | None = None) -> None:
    """An OnStep that does nothing."""


class Generation:
    """The networks of a GLD at work on one device. dtype: of autocast."""

    def __init__(self, residency: Residency, dtype: torch.dtype, sampler: Sampler | None = None):
        self.residency, self.dtype = residency, dtype
        self.net, self.device = residency.net, residency.device
        self.sampler = sampler or Sampler(self.device)

    @torch.inference_mode()
    def generate(
        self,
        images: Tensor,
        K: Tensor,
        c2w: Tensor,
        sampling: tuple[Sampling, Sampling],
        noise: tuple[Tensor, Tensor] | None = None,
        generator: torch.Generator | None = None,
        on_step: OnStep = silent,
        given: SourceLatents | None = None,
        depth: SourceDepth | None = None,
    ) -> Generated:
        """images: (B, S, 3, H, W) 0..1 of the sources; K: (B, V, 3, 3), c2w: (B, V, 4, 4) of sources, then targets.

        sampling: of level 1 and of level 0. noise: of both, in the latents' shape; drawn from `generator`
        where it is not given. given: what `encode` made of the images before. depth: of the sources, for models with
        warp conditioning; found by posed depth where it is not given.
        """
        config = self.net.config
        size = (images.shape[-2], images.shape[-1])
        with self.autocast():
            given = given or self.encode(images)
            on_step("encode", 0, None)
            cond = self.condition(images, K, c2w, given, depth)
            if cond.warped is not None:
                on_step("condition", 0, None)
            shape = tuple(cond.level1.shape)
            if noise is None:
                noise = (torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
            for level, given_noise in zip((1, 0), noise, strict=True):
                if tuple(given_noise.shape) != shape:
                    raise InvalidRequest(f"noise of level {level} is {tuple(given_noise.shape)}, expected {shape}")
            seen = None if cond.warped is None else cond.warped.seen
            cameras = RequestCameras(K, c2w, images.shape[1], size, given.grid, config.compat, seen)
            step = partial(self._step, on_step, cond.warped)
            level1 = self.stage("level1", sampling[0], cond.level1, cameras, noise[0], None, partial(step, "level1"))
            # Without channels for level 1, level 0 is diffused independently of level 1.
            hint = level1 if config.level0.level1_channels else None
            level0 = self.stage("level0", sampling[1], cond.level0, cameras, noise[1], hint, partial(step, "level0"))
            return self.decode(level0, level1, cond, given.grid, size)

    @staticmethod
    def _step(on_step: OnStep, warped: WarpedSources | None, stage: str, step: int) -> bool | None:
        return on_step(stage, step, None if warped is None else warped.image[0, -1])

    def encode(self, images: Tensor) -> SourceLatents:
        """Latents of the sources (B, S, 3, H, W)."""
        net = self.net
        with self.autocast(), self.residency.at_work("encoder"):
            levels = net.encoder(images, levels=4 if net.config.warps else 2)
            camera = None
            if not net.config.level1.special_tokens and not net.config.warps:
                alone = images.shape[1] == 1
                camera = levels[1].camera if alone else net.encoder(images[:, :1], levels=2)[1].camera
        latent0, latent1 = net.to_latent(levels[0], 0).float(), net.to_latent(levels[1], 1).float()
        return SourceLatents(latent0, latent1, camera, levels[0].grid, levels if net.config.warps else None)

    def geometry(
        self, images: Tensor, K: Tensor, c2w: Tensor, given: SourceLatents
    ) -> tuple[Geometry, SourceDepth | None]:
        """The geometry of the sources, for warp conditioning: the head's, and posed depth (see `source_geometry`)."""
        assert given.levels is not None
        with self.autocast(), self.residency.at_work("dpt"), self.residency.at_work("matching"):
            return source_geometry(self.net, given.levels, images, K, c2w)

    def condition(
        self, images: Tensor, K: Tensor, c2w: Tensor, given: SourceLatents, depth: SourceDepth | None
    ) -> Condition:
        """The sources' latents, and in the targets' places zeros or the latents of the warped sources."""
        S, V = images.shape[1], K.shape[1]
        if not self.net.config.warps:
            level0, level1 = (F.pad(latent, (0, 0, 0, 0, 0, 0, 0, V - S)) for latent in (given.level0, given.level1))
            return Condition(level0, level1, None if given.camera is None else given.camera.expand(-1, V, -1))
        if depth is None:
            depth = self.geometry(images, K[:, :S], c2w[:, :S], given)[1]
        if depth is None:
            raise InvalidRequest("one source, and no depth of it is given: nothing can be warped")
        warped = warp_sources(images, depth, K[:, :S], c2w[:, :S], K[:, S:], c2w[:, S:])
        with self.residency.at_work("encoder"):
            warps = encode_warps(self.net, images, warped)
        level0, level1 = torch.cat([given.level0, warps.level0], 1), torch.cat([given.level1, warps.level1], 1)
        return Condition(level0, level1, warps.camera, warped)

    def stage(
        self,
        name: str,
        sampling: Sampling,
        base: Tensor,
        cameras: RequestCameras,
        noise: Tensor,
        level1: Tensor | None,
        on_step: Callable[[int], bool | None],
    ) -> Tensor:
        """Latents (B, V, ...) of one stage from noise; base: the condition; level1: given to level 0."""
        with self.residency.at_work(name) as dit:
            assert isinstance(dit, MultiViewDiT)
            null = cameras.condition(dit, drop=True) if sampling.guided else None
            cond = Conditioning(base, cameras.condition(dit), null, level1)
            return self.sampler.sample(dit, self.net.config.flow, cond, noise.to(self.device), sampling, on_step)

    def decode(
        self, level0: Tensor, level1: Tensor, cond: Condition, grid: tuple[int, int], size: tuple[int, int]
    ) -> Generated:
        """Features, images and geometry of all views from their latents."""
        net = self.net
        with self.residency.at_work("encoder"):
            features = net.features(level0, level1, grid, cond.camera)
        with self.residency.at_work("rgb"):
            image = net.rgb(features, grid).float()
        geometry = None
        if net.config.dpt is not None:
            with self.residency.at_work("dpt"):
                geometry = net.dpt(features, grid, size)
        return Generated(level0, level1, features, image, geometry, cond.warped)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
