# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Synthesis as released: all views of a request, sources too, are generated together from noise (spec gld.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.diffusion.conditioning import Cameras, RequestCameras
from gld_ros.diffusion.field import Told
from gld_ros.diffusion.flow import Velocity
from gld_ros.diffusion.prediction import as_velocity
from gld_ros.diffusion.sampling import Sampling
from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.warp import forward_warp
from gld_ros.models.dit import MultiViewDiT
from gld_ros.models.dpt import Geometry
from gld_ros.pipeline.method import Callback, Options, Reporter, Synthesis
from gld_ros.pipeline.request import RelativeFrame
from gld_ros.pipeline.scale import geometry_spread, joint_scale
from gld_ros.pipeline.synthesis import resize
from gld_ros.pipeline.views import SourceView, View

#: A stage's name and the step done, 1 ... steps; True ends the stage.
OnStep = Callable[[str, int], bool | None]


@dataclass
class SourceLatents:
    """What the sources give: latents (B, S, ...) of levels 0 and 1, encoded together and without the targets, and the
    raw level-1 camera token (B, 1, C) of the first source encoded alone (None where the latents hold such tokens)."""

    level0: Tensor
    level1: Tensor
    camera: Tensor | None
    grid: tuple[int, int]


@dataclass
class Generated:
    """All views of a request, sources first. level0, level1: latents; features: four levels (B, V, h * w, C) as the
    decoders read them; image: (B, V, 3, H, W) about 0..1, not clamped; geometry: model units, None without a head."""

    level0: Tensor
    level1: Tensor
    features: list[Tensor]
    image: Tensor
    geometry: Geometry | None


class JointSynthesis(Synthesis):
    """Source-only encoding; level 1; level 0 from it; levels 2, 3 by propagation; one decoding of all levels."""

    def synthesize(
        self, sources: Sequence[SourceView], targets: Sequence[Camera], options: Options, callback: Callback | None
    ) -> list[View]:
        if self.net.config.dpt is None:
            raise ModelError(f"model '{self.net.config.name}' has no geometry head: depth_head.* of VGGT-1B is missing")
        sampling = options.sampling(self.net.config.flow)
        report = Reporter(callback, (sampling[0].steps, sampling[1].steps), timer=options.timer)
        cameras = [s.camera for s in sources] + list(targets)
        frame = RelativeFrame(cameras)
        K, c2w = self.cameras(cameras, frame, options.size)
        images = torch.cat([resize(self.picture(s.image)[None, None], options.size) for s in sources], dim=1)
        generator = torch.Generator().manual_seed(options.seed)
        given: SourceLatents = self.recent.get(sources, self.encoding(options), lambda: self.encode(images))
        made = self.generate(images, K, c2w, sampling, generator=generator, on_step=report, given=given)
        assert made.geometry is not None
        self.check_finite(made.image, made.geometry.depth)
        scale = joint_scale(sources, made.geometry, K, c2w, frame, self.min_baseline, options.strict_scale)
        depth = made.geometry.depth.float() * (scale.value / frame.unit)
        spread = geometry_spread(made.geometry)
        S = len(sources)
        views = []
        for v, target in enumerate(targets, start=S):
            seen = forward_warp(
                spread[:, :S, None], depth[:, :S], K[:, :S], c2w[:, :S], K[:, v], c2w[:, v], options.size
            ).seen
            metres = depth[0, v] * frame.unit
            pixels = at_size(made.image[0, v].clamp(0, 1), metres, spread[0, v], seen[0], target)
            views.append(self.view(pixels, target, sources, scale, options))
        report("decode", 1, made.image[0, -1])
        return views

    def encoding(self, options: Options) -> tuple[Any, ...]:
        return (options.size,)

    @torch.inference_mode()
    def generate(
        self,
        images: Tensor,
        K: Tensor,
        c2w: Tensor,
        sampling: tuple[Sampling, Sampling],
        noise: tuple[Tensor, Tensor] | None = None,
        generator: torch.Generator | None = None,
        on_step: OnStep = lambda stage, step: None,
        given: SourceLatents | None = None,
    ) -> Generated:
        """images: (B, S, 3, H, W) 0..1 of the sources; K: (B, V, 3, 3), c2w: (B, V, 4, 4) of sources, then targets.

        sampling: of level 1 and of level 0. noise: of both, in the latents' shape; drawn from `generator`
        where it is not given. given: what `encode` made of the images before.
        """
        config = self.net.config
        size = (images.shape[-2], images.shape[-1])
        S, V = images.shape[1], K.shape[1]
        with self.autocast():
            given = given or self.encode(images)
            on_step("encode", 0)
            shape = (images.shape[0], V, *given.level1.shape[2:])
            if noise is None:
                noise = (torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
            for level, given_noise in zip((1, 0), noise, strict=True):
                if tuple(given_noise.shape) != shape:
                    raise InvalidRequest(f"noise of level {level} is {tuple(given_noise.shape)}, expected {shape}")

            cameras = RequestCameras(K, c2w, S, size, given.grid, config.compat)

            def stage(name: str, how: Sampling, base: Tensor, noise: Tensor, level1: Tensor | None = None) -> Tensor:
                base = F.pad(base, (0, 0, 0, 0, 0, 0, 0, V - S))  # zeros for the targets
                with self.residency.at_work(name) as dit:
                    assert isinstance(dit, MultiViewDiT)
                    null = cameras.told(dit, drop=True) if how.guided else None
                    told = Told(base, cameras.told(dit), null, level1)
                    step = partial(on_step, "level1" if name == "level1" else "level0")
                    return self.engine.sample(dit, config.flow, told, noise.to(self.device), how, step)

            level1 = stage("level1", sampling[0], given.level1, noise[0])
            # Without a cascade level 0 is diffused independently of level 1.
            hint = level1 if config.cascade.cascade_channels else None
            level0 = stage("cascade", sampling[1], given.level0, noise[1], hint)
            return self.decode(level0, level1, given, size)

    def encode(self, images: Tensor) -> SourceLatents:
        """Latents of the sources (B, S, 3, H, W)."""
        net = self.net
        with self.autocast(), self.residency.at_work("encoder"):
            level0, level1 = net.encoder(images, levels=2)
            camera = None
            if not net.config.level1.special_tokens:
                camera = net.encoder(images[:, :1], levels=2)[1].camera if images.shape[1] > 1 else level1.camera
        return SourceLatents(net.to_latent(level0, 0).float(), net.to_latent(level1, 1).float(), camera, level0.grid)

    def decode(self, level0: Tensor, level1: Tensor, given: SourceLatents, size: tuple[int, int]) -> Generated:
        """Features, images and geometry of all views from their latents."""
        net = self.net
        camera = None if given.camera is None else given.camera.expand(-1, level1.shape[1], -1)
        with self.residency.at_work("encoder"):
            features = net.features(level0, level1, given.grid, camera)
        with self.residency.at_work("rgb"):
            image = net.rgb(features, given.grid).float()
        geometry = None
        if net.config.dpt is not None:
            with self.residency.at_work("dpt"):
                geometry = net.dpt(features, given.grid, size)
        return Generated(level0, level1, features, image, geometry)


def velocity(dit: MultiViewDiT, base: Tensor, cameras: Cameras, level1: Tensor | None) -> Velocity:
    """What a stage says of noisy latents, given the sources' latents, cameras and, in the cascade, level 1."""

    def at(noisy: Tensor, t: Tensor) -> Tensor:
        out = dit(noisy, base, t, cameras.camera_map, cameras.tables, cameras.sources, level1).float()
        return as_velocity(dit.config.prediction, out, noisy, t)

    return at


def at_size(
    image: Tensor, depth: Tensor, spread: Tensor, seen: Tensor, target: Camera
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(3, h, w) and (h, w) maps at the target camera's size; only the colours are interpolated."""
    size = (target.height, target.width)
    if tuple(depth.shape) == size:
        return image, depth, spread, seen
    maps = F.interpolate(torch.stack([depth, spread, seen.float()])[None], size=size, mode="nearest-exact")[0]
    return resize(image[None, None], size)[0, 0], maps[0], maps[1], maps[2] > 0.5
