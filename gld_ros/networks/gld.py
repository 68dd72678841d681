# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All networks of one GLD, and the latent space between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.dpt import DualDPT
from gld_ros.networks.encoder import GeometryEncoder, Level, map_to_tokens
from gld_ros.networks.posed_depth import PosedDepth
from gld_ros.networks.rgb_decoder import RGBDecoder

BOUNDARY = 1  # the level that is diffused first; level 0 comes from it, levels 2 and 3 follow by propagation


#: Gen3R's embedding of times and VGGT's head for cameras, which compute in float32 whatever the rest does.
EXACT = ("time_embedding.", "time_projection.", "camera_head.")


def stored_dtype(key: str, tensor: Tensor, dtype: torch.dtype) -> torch.dtype:
    """In what a parameter of a model in `dtype` is kept: that, for the weights of linear and convolution layers.

    Norms, biases, scales, tokens, tables, frequencies and statistics stay float32: they are small, and exact they cost
    nothing. Autocast takes both as they are. Networks that have to be exact (`EXACT`) stay float32 as well.
    """
    if key.startswith(EXACT):
        return torch.float32
    return dtype if tensor.ndim > 1 and key.endswith("weight") else torch.float32


class GLDNetworks(nn.Module):
    """Encoder, geometry head, RGB decoder, both diffusion stages, latent statistics; posed depth where the model is
    conditioned on the warped sources.

    Three spaces (spec gld.md): raw features, latents = raw normalised per channel, and what the decoders read
    (`GeometryEncoder.to_decoder`). Latents are maps (B, V, C, h, w). Where special tokens are diffused with the
    patches (VGGT), they are packed in front of them: (B, V, C, S + h * w, 1).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        channels, patch = config.encoder.channels, config.encoder.patch
        self.encoder = GeometryEncoder(config.encoder)
        if config.dpt is not None:
            self.dpt = DualDPT(channels, config.dpt)
        if config.matching is not None:
            self.matching = PosedDepth(channels, config.matching)
        self.rgb = RGBDecoder(channels, patch, config.rgb)
        self.level1 = MultiViewDiT(channels, patch, config.level1)
        self.level0 = MultiViewDiT(channels, patch, config.level0)
        for k in (0, 1):
            for kind in ("level", "special") if config.level1.special_tokens else ("level",):
                self.register_buffer(f"{kind}{k}_mean", torch.zeros(channels))
                self.register_buffer(f"{kind}{k}_var", torch.ones(channels))

    def to_latent(self, level: Level, k: int) -> Tensor:
        """Raw features of level k, normalised per channel by its statistics."""
        mean, var = self._statistics("level", k)
        latent = (level.patches - mean) * torch.rsqrt(var + 1e-5)
        if not self.config.level1.special_tokens:
            return latent
        mean, var = self._special_statistics(k)
        special = (level.special.transpose(2, 3)[..., None] - mean) * torch.rsqrt(var + 1e-5)
        return torch.cat([special, latent.flatten(3)[..., None]], dim=3)

    def to_level(self, latent: Tensor, grid: tuple[int, int], k: int, camera: Tensor | None = None) -> Level:
        """Raw features of level k from latents; the camera tokens (B, V, C) come with it or, packed, inside."""
        special = camera[:, :, :, None, None] if camera is not None else None
        S = self.config.level1.special_tokens
        if S:
            mean, var = self._special_statistics(k)
            special, latent = latent[:, :, :, :S] * torch.sqrt(var + 1e-5) + mean, latent[:, :, :, S:]
        mean, var = self._statistics("level", k)
        tokens = map_to_tokens(latent * torch.sqrt(var + 1e-5) + mean)
        if special is not None:
            tokens = torch.cat([map_to_tokens(special).to(tokens), tokens], dim=2)
        return Level(tokens, grid)

    def features(
        self, level0: Tensor, level1: Tensor, grid: tuple[int, int], camera: Tensor | None = None
    ) -> list[Tensor]:
        """All four levels as the decoders read them, (B, V, h * w, C) each, from latents of levels 0 and 1.

        camera: raw level-1 camera tokens (B, V, C), where they are not in the latents.
        """
        boundary = self.to_level(level1, grid, BOUNDARY, camera)
        levels = [self.to_level(level0, grid, 0), boundary, *self.encoder.resume(boundary, BOUNDARY)]
        return [self.encoder.to_decoder(level) for level in levels]

    def _special_statistics(self, k: int) -> tuple[Tensor, Tensor]:
        return self._statistics("special", 1 if self.config.compat.level1_special_statistics else k)

    def _statistics(self, kind: str, k: int) -> tuple[Tensor, Tensor]:
        """Mean and variance (C, 1, 1) in float32."""
        mean, var = getattr(self, f"{kind}{k}_mean"), getattr(self, f"{kind}{k}_var")
        return mean[:, None, None], var[:, None, None]
