# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The latent spaces that are compared: four levels of an encoder, and a VAE of the same latent size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gld_ros.data.clips import ClipBatch
from gld_ros.networks.encoder import GeometryEncoder, Level
from gld_ros.networks.gld import GLDNetworks
from gld_ros.training.latents import GeometricLatents, LatentSpace, RunningStatistics
from gld_ros.training.losses import geometry_loss
from gld_ros.training.stage import Stage

LEVELS = 4


def propagated(encoder: GeometryEncoder, levels: list[Level], alone: Tensor, boundary: int) -> list[Level]:
    """Levels 0 .. boundary as they are, those above from the boundary with one camera token in every view.

    alone: camera token (B, 1, C) of the first view encoded alone, at the boundary, as at inference.
    """
    level = levels[boundary]
    if boundary == LEVELS - 1:
        return levels
    camera = alone[:, :, None].expand(-1, level.tokens.shape[1], -1, -1)
    level = Level(torch.cat([camera, level.patch_tokens], dim=2), level.grid)
    return levels[: boundary + 1] + encoder.resume(level, boundary)


class EncodingStage(Stage):
    """An encoder from scratch with an RGB decoder and, if `geometry`, with depth and rays; without: RGB alone.

    Both heads learn to do with what generation will give them: a level drawn at random and those that follow from it
    by propagation, single levels, and all levels.
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
        images, boundary = batch.images[:, views], int(torch.randint(LEVELS, ()))
        levels = self.encoder(images)
        if boundary < LEVELS - 1 and torch.rand(()) < 0.5:
            alone = self.encoder(images[:, :1], levels=boundary + 1)[boundary].camera
            levels = propagated(self.encoder, levels, alone, boundary)
        features = level_choice([self.encoder.to_decoder(level) for level in levels], boundary)
        losses = {"rgb": 3 * (self.rgb(features, levels[0].grid) - images).abs().mean()}
        if hasattr(self, "dpt"):
            assert batch.depth is not None
            geometry = self.dpt(features, levels[0].grid, images.shape[-2:])
            # In float32: poses and rays do not bear bfloat16.
            with torch.autocast(images.device.type, enabled=False):
                losses |= geometry_loss(geometry, batch.depth[:, views], batch.K[:, views], batch.c2w[:, views])
        return losses


def level_choice(levels: list[Tensor], boundary: int) -> list[Tensor]:
    """Per view all levels, or those from the boundary on, or one; the others become zero."""
    shape = levels[0].shape[:2]
    kind, single = torch.rand(shape), torch.randint(LEVELS, shape)
    kept = []
    for k, level in enumerate(levels):
        keep = torch.where(kind < 0.3, True, torch.where(kind < 0.75, k >= boundary, single == k))
        kept.append(level * keep[..., None, None].to(level))
    return kept


class Levels(GeometricLatents):
    """The four levels of a trained encoder; what the decoders read of some of them."""

    def features(self, latents: dict[int, Tensor], sources: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Four levels (B, V, h * w, C) in decoder space of latents by level, and the patch grid.

        Levels above the highest one given follow by propagation, others that are not given are zero.
        """
        net, boundary = self.net, max(latents)
        grid = sources.shape[-2] // self.patch, sources.shape[-1] // self.patch
        alone = net.encoder(sources[:, :1], levels=boundary + 1)[boundary].camera
        # Beside the patches of a latent there is no camera token: any does, `propagated` puts the right one in.
        placeholder = torch.zeros_like(alone).expand(-1, latents[boundary].shape[1], -1)
        given = {k: net.to_level(latent, grid, k, placeholder) for k, latent in latents.items()}
        missing = torch.zeros_like(net.encoder.to_decoder(given[boundary]))
        levels = propagated(net.encoder, [given.get(k, given[boundary]) for k in range(boundary + 1)], alone, boundary)
        found = [net.encoder.to_decoder(level) for level in levels]
        return [x if k in latents or k > boundary else missing for k, x in enumerate(found)], grid

    def decode(self, latents: dict[int, Tensor], sources: Tensor) -> Tensor:
        return self.net.rgb(*self.features(latents, sources)).float()

    def decode_real(self, images: Tensor, levels: Sequence[int]) -> Tensor:
        """Images from these of their own levels, the others zero."""
        found = self.net.encoder(images)
        features = [self.net.encoder.to_decoder(level) * (k in levels) for k, level in enumerate(found)]
        return self.net.rgb(features, found[0].grid).float()


class VAE(nn.Module):
    """Convolutional variational autoencoder of single views: stride 8, as many latent channels as a level has.

    Pixels are packed into patches at once, as the vision transformers beside it do: strided stems took several times
    longer to learn as much.
    """

    def __init__(self, width: int, channels: int, blocks: int = 3, patch: int = 8):
        super().__init__()
        self.channels, self.patch = channels, patch
        pixels = 3 * patch**2
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(patch),
            nn.Conv2d(pixels, width, 1),
            *(Residual(width) for _ in range(blocks)),
            nn.Conv2d(width, 2 * channels, 1),
        )
        # Little noise at first: with as much as the prior has, the decoder begins by ignoring the latents.
        nn.init.zeros_(self.encoder[-1].weight[channels:])  # type: ignore[index,arg-type]
        nn.init.constant_(self.encoder[-1].bias[channels:], -6.0)  # type: ignore[index,arg-type]
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            *(Residual(width) for _ in range(blocks)),
            nn.Conv2d(width, pixels, 1),
            nn.PixelShuffle(patch),
        )

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (N, C, h, w) of views (N, 3, H, W) in 0..1."""
        mean, log_variance = self.encoder(2 * images - 1).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def decode(self, latents: Tensor) -> Tensor:
        return 0.5 + 0.5 * self.decoder(latents).float()


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        layers = (nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))
        self.layers = nn.Sequential(*layers, nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class VAEStage(Stage):
    """L1 of the decoded sample, and a small KL term, as latent diffusion's autoencoders are trained."""

    KL_WEIGHT = 1e-6  # per view: of the sum over the latent, against the mean over the pixels

    def __init__(self, vae: VAE):
        super().__init__()
        self.vae = vae

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        images = batch.images.flatten(0, 1)
        mean, log_variance = self.vae.posterior(images)
        made = self.vae.decode(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
        divergence = 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3)).mean()
        return {"rgb": 3 * (made - images).abs().mean(), "kl": self.KL_WEIGHT * divergence}


class VAELatents(LatentSpace):
    """Means of a VAE's posterior, less their mean per channel, over one common deviation (as latent diffusion does).

    The VAE has one level, 0; it knows each view alone.
    """

    def __init__(self, vae: VAE):
        super().__init__()
        self.vae = vae.requires_grad_(False)
        self.channels, self.patch = vae.channels, vae.patch
        self.register_buffer("mean", torch.zeros(self.channels))
        self.register_buffer("deviation", torch.ones(()))
        self.mean: Tensor
        self.deviation: Tensor

    def encode(self, images: Tensor, levels: Sequence[int]) -> dict[int, Tensor]:
        mean, _ = self.vae.posterior(images.flatten(0, 1))
        latent = (mean - self.mean[:, None, None]) / self.deviation
        return {0: latent.unflatten(0, images.shape[:2])}

    def decode(self, latents: dict[int, Tensor], sources: Tensor) -> Tensor:
        raw = latents[0] * self.deviation + self.mean[:, None, None]
        return self.vae.decode(raw.flatten(0, 1)).unflatten(0, raw.shape[:2])

    @torch.no_grad()
    def measure(self, batches: Iterator[Tensor], count: int, levels: Sequence[int]) -> None:
        found = RunningStatistics()
        for _ in range(count):
            mean, _ = self.vae.posterior(next(batches).flatten(0, 1))
            found.add(mean.movedim(1, -1))
        self.mean.copy_(found.mean)
        self.deviation.copy_(found.variance.mean().sqrt())
