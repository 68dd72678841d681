# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The latent spaces that are compared: four levels of an encoder, and a VAE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gld_ros.data.clips import ClipBatch
from gld_ros.networks.gld import GLDNetworks
from gld_ros.training.image_stages import decoder_features
from gld_ros.training.latents import LatentSpace, RunningStatistics
from gld_ros.training.losses import geometry_loss
from gld_ros.training.stage import Stage

LEVELS = 4


class EncodingStage(Stage):
    """An encoder from scratch with an RGB decoder and, if `geometry`, with depth and rays; without: RGB alone.

    Both heads learn from what generation will give them: a random level and those that follow from it by propagation,
    single levels, and all levels.
    """

    has_unused_parameters = True

    def __init__(self, net: GLDNetworks, geometry: bool):
        super().__init__()
        self.encoder, self.rgb = net.encoder, net.rgb
        if geometry:
            self.dpt = net.dpt

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        V = batch.images.shape[1]
        views = sorted(torch.randperm(V)[: int(torch.randint(1, V + 1, ()))].tolist())
        images, first = batch.images[:, views], int(torch.randint(LEVELS, ()))
        features, grid = decoder_features(self.encoder, images, bool(torch.rand(()) < 0.5), first)
        features = level_choice(features, first)
        losses = {"rgb": 3 * (self.rgb(features, grid) - images).abs().mean()}
        if hasattr(self, "dpt"):
            assert batch.depth is not None
            geometry = self.dpt(features, grid, images.shape[-2:])
            losses |= geometry_loss(geometry, batch.depth[:, views], batch.K[:, views], batch.c2w[:, views])
        return losses


def level_choice(levels: list[Tensor], first: int) -> list[Tensor]:
    """Keep, in each view, all levels, those from `first` on, or a single one; the others become zero."""
    shape = levels[0].shape[:2]
    kind, single = torch.rand(shape), torch.randint(LEVELS, shape)
    kept = []
    for k, level in enumerate(levels):
        keep = torch.where(kind < 0.3, True, torch.where(kind < 0.75, k >= first, single == k))
        kept.append(level * keep[..., None, None].to(level))
    return kept


class Residual(nn.Sequential):
    def __init__(self, width: int):
        layers = [nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)]
        super().__init__(*layers, nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class VAE(nn.Module):
    """Convolutional variational autoencoder of single views, stride 8.

    Pixels are packed into patches at once, as the vision transformers beside it do: strided stems took several times
    longer to learn as much.
    """

    def __init__(self, width: int, channels: int, blocks: int = 3, patch: int = 8):
        super().__init__()
        self.channels, self.patch = channels, patch
        pixels = 3 * patch**2
        out = nn.Conv2d(width, 2 * channels, 1)
        # Little noise at first: with as much as the prior has, the decoder begins by ignoring the latents.
        nn.init.zeros_(out.weight[channels:])
        assert out.bias is not None
        nn.init.constant_(out.bias[channels:], -6.0)
        inner = [nn.Sequential(*(Residual(width) for _ in range(blocks))) for _ in range(2)]
        self.encoder = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(pixels, width, 1), inner[0], out)
        enlarge = nn.Conv2d(width, pixels, 1), nn.PixelShuffle(patch)
        self.decoder = nn.Sequential(nn.Conv2d(channels, width, 1), inner[1], *enlarge)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (N, C, h, w) of views (N, 3, H, W) in 0..1."""
        mean, log_variance = self.encoder(2 * images - 1).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def decode(self, latents: Tensor) -> Tensor:
        return 0.5 + 0.5 * self.decoder(latents).float()


class VAEStage(Stage):
    """L1 of the decoded sample, and a small KL term, as latent diffusion's autoencoders are trained."""

    KL_WEIGHT = 1e-6  # per view: of the sum over the latent, against the mean over the pixels

    def __init__(self, vae: VAE):
        super().__init__()
        self.vae = vae

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        images = batch.images.flatten(0, 1)
        mean, log_variance = self.vae.posterior(images)
        decoded = self.vae.decode(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
        divergence = 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3)).mean()
        return {"rgb": 3 * (decoded - images).abs().mean(), "kl": self.KL_WEIGHT * divergence}


class VAELatents(LatentSpace):
    """Means of a VAE's posterior, less their mean per channel, over one common deviation (as latent diffusion does).

    The VAE has one level, 0; it encodes each view alone.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, vae: VAE):
        super().__init__()
        self.vae = vae.requires_grad_(False)
        self.channels, self.patch = vae.channels, vae.patch
        self.register_buffer("mean", torch.zeros(self.channels))
        self.register_buffer("deviation", torch.ones(()))

    def encode(self, images: Tensor, levels: Sequence[int]) -> dict[int, Tensor]:
        mean, _ = self.vae.posterior(images.flatten(0, 1))
        return {0: ((mean - self.mean[:, None, None]) / self.deviation).unflatten(0, images.shape[:2])}

    def decode(self, latents: dict[int, Tensor], sources: Tensor) -> Tensor:
        raw = latents[0] * self.deviation + self.mean[:, None, None]
        return self.vae.decode(raw.flatten(0, 1)).unflatten(0, raw.shape[:2])

    @torch.no_grad()
    def measure(self, batches: Iterator[Tensor], count: int, levels: Sequence[int]) -> None:
        statistics = RunningStatistics()
        for _ in range(count):
            mean, _ = self.vae.posterior(next(batches).flatten(0, 1))
            statistics.add(mean.movedim(1, -1))
        self.mean.copy_(statistics.mean)
        self.deviation.copy_(statistics.variance.mean().sqrt())
