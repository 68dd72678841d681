# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The geometry adapter: VGGT as a VAE, whose latents are aligned with those of the video VAE (spec gen3r.md).

Token maps (B, 10240, F, h, w) hold VGGT's four levels and the last level's camera token, repeated at every patch. They
are read and written chunk by chunk: those of a whole clip need not exist.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.networks.gen3r.causal import (
    CausalConv3d,
    ChannelRMS,
    FrameAttention,
    Resample,
    ResidualBlock,
    Stream,
    per_frame,
    run,
)
from gld_ros.networks.gen3r.configs import AdapterConfig
from gld_ros.networks.gen3r.latents import Posterior, chunks, joined, per_channel, posterior

#: Mean and standard deviation of the released adapter's latents, (16,).
LATENT_MEAN = [
    *(0.14257538, 0.18577661, 0.14208488, 0.06298031, 0.09738383, -0.06001362, -0.04728968, -0.12326089),
    *(-0.04308648, -0.10522724, 0.08278389, -0.00270301, -0.09203526, 0.03170688, 0.11458898, 0.10679868),
]
LATENT_STD = [
    *(0.56929547, 0.61451489, 0.68560797, 0.78598368, 0.51151282, 0.75570852, 0.80284864, 0.63438177),
    *(0.82458758, 0.59266430, 0.75781488, 0.70593017, 0.70382243, 0.57837099, 0.73155540, 0.71971470),
]
#: Latent pixels of a patch of 14 pixels, each way; and the grid of patches that the released decoder always makes.
PATCH_TO_LATENT, RELEASED_GRID = 14 / 8, 40


class GeometryAdapter(nn.Module):
    """Encoder and decoder between token maps (B, tokens, F, h, w) and latents (B, 16, f, 7/4 h, 7/4 w)."""

    def __init__(self, config: AdapterConfig):
        super().__init__()
        self.config = config
        Z = config.latent
        self.encoder = AdapterEncoder(config)
        self.conv1 = nn.Conv3d(2 * Z, 2 * Z, 1)
        self.conv2 = nn.Conv3d(Z, Z, 1)
        self.decoder = AdapterDecoder(config)

    def encode(self, tokens: Tensor | Iterable[Tensor]) -> Posterior:
        """The posterior of normalised latents. tokens: a clip (B, C, F, h, w), or its `chunks` one after the other.

        Raises InvalidRequest for a clip whose frames are not 4 n + 1.
        """
        stream, moments = Stream(), []
        for chunk in chunks(tokens) if isinstance(tokens, Tensor) else tokens:
            moments.append(self.conv1(self.encoder(chunk, stream)))
            stream.first = False
        return posterior(joined(moments), torch.tensor(LATENT_MEAN), torch.tensor(LATENT_STD))

    def decode(self, latent: Tensor) -> Tensor:
        """Token maps of a whole clip of normalised latents (B, 16, f, h, w)."""
        return joined(self.decoded(latent))

    def decoded(self, latent: Tensor) -> Iterator[Tensor]:
        """Token maps of one latent frame after the other: one frame, then four at a time."""
        stream = Stream()
        z = self.conv2(latent * per_channel(LATENT_STD, latent) + per_channel(LATENT_MEAN, latent))
        for frame in z.split(1, dim=2):
            yield self.decoder(frame, stream)
            stream.first = False


class AdapterEncoder(nn.Module):
    def __init__(self, config: AdapterConfig):
        super().__init__()
        W, features = config.width, config.tokens // config.reduction
        self.init_block = PatchesToLatent(config.tokens, features)
        self.conv1 = CausalConv3d(features, 4 * W, 3)
        self.downsamples = nn.ModuleList(
            [
                *(ResidualBlock(4 * W, 4 * W), ResidualBlock(4 * W, 4 * W), Resample(4 * W, 4 * W)),
                *(ResidualBlock(4 * W, 2 * W), ResidualBlock(2 * W, 2 * W), Resample(2 * W, 2 * W, "down")),
                *(ResidualBlock(2 * W, W), ResidualBlock(W, W), Resample(W, W, "down")),
                *(ResidualBlock(W, W), ResidualBlock(W, W)),
            ]
        )
        self.middle = _middle(W)
        self.head = nn.Sequential(ChannelRMS(W), nn.SiLU(), CausalConv3d(W, 2 * config.latent, 3))

    def forward(self, tokens: Tensor, stream: Stream) -> Tensor:
        """Moments (B, 32, 1, 7/4 h, 7/4 w) of a chunk of token maps (B, C, 1 or 4, h, w)."""
        x = self.conv1(self.init_block(tokens), stream)
        for layers in (self.downsamples, self.middle, self.head):
            x = run(layers, x, stream)
        return x


class AdapterDecoder(nn.Module):
    def __init__(self, config: AdapterConfig):
        super().__init__()
        W, half, features = config.width, config.width // 2, config.tokens // config.reduction
        self.conv1 = CausalConv3d(config.latent, W, 3)
        self.middle = _middle(W)
        self.upsamples = nn.ModuleList(
            [
                *(ResidualBlock(W, W), ResidualBlock(W, W), ResidualBlock(W, W), Resample(W, half, "up")),
                *(ResidualBlock(half, W), ResidualBlock(W, W), ResidualBlock(W, W), Resample(W, half, "up")),
                *(ResidualBlock(half, 2 * W), ResidualBlock(2 * W, 2 * W), ResidualBlock(2 * W, 2 * W)),
                Resample(2 * W, W),
                *(ResidualBlock(W, 4 * W), ResidualBlock(4 * W, 4 * W), ResidualBlock(4 * W, 4 * W)),
            ]
        )
        self.head = nn.Sequential(ChannelRMS(4 * W), nn.SiLU(), CausalConv3d(4 * W, features, 3))
        self.out_block = LatentToPatches(features, config.tokens, config.fixed_grid)

    def forward(self, z: Tensor, stream: Stream) -> Tensor:
        """Token maps (B, C, 1 or 4, h, w) of one latent frame (B, 16, 1, 7/4 h, 7/4 w)."""
        x = self.conv1(z, stream)
        for layers in (self.middle, self.upsamples, self.head):
            x = run(layers, x, stream)
        return self.out_block(x)


class PatchesToLatent(nn.Module):
    """Every frame from the grid of patches to that of the latent, 7/4 times as large, by nearest neighbours."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(inputs, outputs, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        # Each frame by itself: at 70 x 70 the 10240 channels of four frames are 0.8 GB.
        return joined(per_frame(self._frame, frame) for frame in x.split(1, dim=2))

    def _frame(self, x: Tensor) -> Tensor:
        size = [math.floor(PATCH_TO_LATENT * n) for n in x.shape[-2:]]
        return self.resample(F.interpolate(x, size=size, mode="nearest-exact"))


class LatentToPatches(nn.Module):
    """Every frame from the latent's grid to that of the patches: twice as large by nearest neighbours, then halved."""

    def __init__(self, inputs: int, outputs: int, fixed_grid: bool):
        super().__init__()
        self.resample = nn.Sequential(
            nn.Identity(), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(inputs, outputs, 3, stride=2)
        )
        self.fixed_grid = fixed_grid

    def forward(self, x: Tensor) -> Tensor:
        return per_frame(self._frame, x)

    def _frame(self, x: Tensor) -> Tensor:
        grid = [RELEASED_GRID if self.fixed_grid else round(n / PATCH_TO_LATENT) for n in x.shape[-2:]]
        return self.resample(F.interpolate(x, size=[2 * n for n in grid], mode="nearest-exact"))


def _middle(width: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(width, width), FrameAttention(width), ResidualBlock(width, width))
