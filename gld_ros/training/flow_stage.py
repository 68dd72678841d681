# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training of a diffusion stage that generates all views of a scene together (spec gld.md, Training)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.data.clips import ClipBatch
from gld_ros.diffusion.conditioning import Cameras, RequestCameras
from gld_ros.diffusion.flow import NOISELESS, Velocity, guided, interpolate, time_grid, training_target, training_times
from gld_ros.diffusion.sampler import Conditioning, integrate, velocity
from gld_ros.networks.configs import Compat, FlowConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.training.config import FlowTraining
from gld_ros.training.latents import LatentSpace
from gld_ros.training.records import sheet
from gld_ros.training.stage import ROWS, Stage


@dataclass
class Draw:
    """Random choices of one batch. order: views, sources first; t: (B,) times; noise: latents' shape;
    dropped: (B,) scenes without cameras; spread: (B,) noise on the given level."""

    order: list[int]
    sources: int
    t: Tensor
    noise: Tensor
    dropped: Tensor
    spread: Tensor


class FlowStage(Stage):
    """One DiT on one level of a latent space, given the sources' latents, cameras and perhaps another level.

    level: what is generated. given: the level of all views it is conditioned on, None for none. Both of `space`.
    The loss is over all views: sources are generated too.
    """

    frozen: tuple[str, ...] = ("space.",)

    def __init__(
        self,
        space: LatentSpace,
        dit: MultiViewDiT,
        level: int,
        given: int | None,
        flow: FlowConfig,
        options: FlowTraining,
        compat: Compat | None = None,
    ):
        super().__init__()
        self.space, self.dit = space.requires_grad_(False), dit
        self.level, self.given = level, given
        self.flow, self.options, self.compat = flow, options, compat or Compat()

    @property
    def levels(self) -> list[int]:
        return [self.level] if self.given is None else [self.level, self.given]

    def prepare(self, batches: Iterator[ClipBatch]) -> None:
        """Latent statistics of levels that have none: they belong to the encoder, not to what is trained here."""
        missing = [k for k in self.levels if not self.space.measured(k)]
        if missing and self.options.statistics_batches:
            self.space.measure((batch.images for batch in batches), self.options.statistics_batches, missing)

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Mean squared error of what the model predicts, and beside it that of sources and targets alone."""
        with torch.no_grad():
            draw = self.draw(batch)
            images, K, c2w = (x[:, draw.order] for x in (batch.images, batch.K, batch.c2w))
            latents = self.space.encode(images, self.levels)
            base = self.sources_alone(images[:, : draw.sources], images.shape[1])
            given = self.noised(latents[self.given], draw.spread) if self.given is not None else None
            cameras, null = self.cameras(K, c2w, draw.sources, images, draw.dropped)
            noisy, target = self.example(latents[self.level], draw, Conditioning(base, cameras, null, given))
        out = self.dit(noisy, base, draw.t, cameras.camera_map, cameras.tables, draw.sources, given).float()
        error = (out - target).pow(2).mean(dim=(0, 2, 3, 4))
        S = draw.sources
        return {"flow": error.mean(), "_sources": error[:S].mean(), "_targets": error[S:].mean()}

    def example(self, data: Tensor, draw: Draw, conditions: Conditioning) -> tuple[Tensor, Tensor]:
        """The network's input at the drawn times and its target, both in the latents' shape."""
        return interpolate(data, draw.noise, draw.t), training_target(self.dit.config.prediction, data, draw.noise)

    def times(self, uniform: Tensor, views: int) -> Tensor:
        """Times to train at (B,), from numbers drawn uniformly in [0, 1)."""
        return training_times(self.flow, uniform, views)

    def draw(self, batch: ClipBatch) -> Draw:
        """A time a scene; sources at random places unless the data say which they are, all in the clip's order."""
        B, V = batch.images.shape[:2]
        device = batch.images.device
        least, most = self.options.sources
        sources = batch.sources or int(torch.randint(least, most + 1, ()))
        places = list(range(V)) if batch.sources else torch.randperm(V).tolist()
        order = sorted(places[:sources]) + sorted(places[sources:])
        noise = torch.randn(B, V, *self.space.shape((batch.images.shape[-2], batch.images.shape[-1])), device=device)
        t = self.times(torch.rand(B, device=device), V)
        if self.dit.config.prediction == NOISELESS:
            noise, t = torch.zeros_like(noise), torch.ones_like(t)
        dropped = torch.rand(B, device=device) < self.options.camera_dropout
        spread = self.options.given_noise * torch.randn(B, device=device).abs()
        return Draw(order, sources, t, noise, dropped, spread)

    def sources_alone(self, images: Tensor, views: int) -> Tensor:
        """Condition latents of all views: the sources' encoded without the targets, zeros for the targets."""
        latent = self.space.encode(images, [self.level])[self.level]
        return F.pad(latent, (0, 0, 0, 0, 0, 0, 0, views - images.shape[1]))

    def noised(self, latent: Tensor, spread: Tensor) -> Tensor:
        """Ground truth as imperfect as what the level before will give, at unit variance."""
        spread = spread[:, None, None, None, None]
        return (latent + spread * torch.randn_like(latent)) / (1 + spread**2).sqrt()

    def cameras(self, K: Tensor, c2w: Tensor, sources: int, images: Tensor, dropped: Tensor) -> tuple[Cameras, Cameras]:
        """Cameras of a batch, and those of guidance's unconditional branch, which `dropped` scenes get in both."""
        size = (images.shape[-2], images.shape[-1])
        grid = size[0] // self.space.patch, size[1] // self.space.patch
        cameras = RequestCameras(K, c2w, sources, size, grid, self.compat)
        kept, null = (cameras.condition(self.dit, drop) for drop in (False, True))

        def chosen(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(dropped.reshape(-1, *[1] * (a.ndim - 1)), b, a)

        encoder, head = (
            replace(a, project=chosen(a.project, b.project), unproject=chosen(a.unproject, b.unproject))
            for a, b in zip(kept.tables, null.tables, strict=True)
        )
        return Cameras(chosen(kept.camera_map, null.camera_map), (encoder, head), sources), null

    def sample(
        self,
        images: Tensor,
        K: Tensor,
        c2w: Tensor,
        given: Tensor | None = None,
        noise: Tensor | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Latents (B, V, C, h, w) of all views. images: of the sources, (B, S, 3, H, W); K, c2w: of all V views.

        given: latents of the level the stage is conditioned on; noise: drawn where it is not given.
        """
        B, V, S = *K.shape[:2], images.shape[1]
        base = self.sources_alone(images, V)
        noise = torch.randn_like(base) if noise is None else noise
        kind = self.dit.config.prediction
        if kind == NOISELESS:
            noise, steps, guidance = torch.zeros_like(noise), 1, 1.0
        cameras, null = self.cameras(K, c2w, S, images, torch.zeros(B, dtype=torch.bool, device=K.device))
        scale = self.options.sample_guidance if guidance is None else guidance
        flow = replace(self.flow, t_end=0.0) if kind == NOISELESS else self.flow
        times = time_grid(flow, steps or self.options.sample_steps, V).to(noise.device)
        return integrate(guided_velocity(self.dit, Conditioning(base, cameras, null, given), scale), noise, times)

    def sheet(self, batch: ClipBatch) -> Tensor:
        """For two scenes: the pictures; what the true latents give; what the generated ones give."""
        images, K, c2w = batch.images[:ROWS], batch.K[:ROWS], batch.c2w[:ROWS]
        sources = images[:, : batch.sources or sum(self.options.sources) // 2]
        latents = self.space.encode(images, self.levels)
        given = None if self.given is None else latents[self.given]
        made = latents | {self.level: self.sample(sources, K, c2w, given)}
        return sheet(images, *(self.space.decode(x, sources) for x in (latents, made)))


def guided_velocity(dit: MultiViewDiT, cond: Conditioning, guidance_scale: float) -> Velocity:
    """The network's velocity at noisy latents, each scene at a time of its own."""
    assert cond.null is not None
    field, null = (velocity(dit, cond.base, cameras, cond.level1) for cameras in (cond.cameras, cond.null))
    return guided(field, null, guidance_scale)
