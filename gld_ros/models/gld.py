"""All networks of one GLD, and the latent space between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gld_ros.models.compositor import Compositor
from gld_ros.models.configs import ModelConfig
from gld_ros.models.dit import MultiViewDiT
from gld_ros.models.dpt import DualDPT
from gld_ros.models.encoder import GeometryEncoder, Level, map_to_tokens
from gld_ros.models.matching import PosedDepth
from gld_ros.models.rgb_decoder import RGBDecoder

BOUNDARY = 1  # the level that is diffused first; level 0 comes from it, levels 2 and 3 follow by propagation


class GLDNetworks(nn.Module):
    """Encoder, geometry head, posed depth, RGB decoder, compositor, both diffusion stages, latent statistics."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        channels, patch = config.encoder.channels, config.encoder.patch
        self.encoder = GeometryEncoder(config.encoder)
        self.dpt = DualDPT(channels, config.dpt)
        self.matching = PosedDepth(channels, config.matching)
        self.rgb = RGBDecoder(channels, patch, config.rgb)
        self.compositor = Compositor(config.compositor)
        self.level1 = MultiViewDiT(channels, patch, config.level1)
        self.cascade = MultiViewDiT(channels, patch, config.cascade)
        for k in (0, 1):
            self.register_buffer(f"level{k}_mean", torch.zeros(channels))
            self.register_buffer(f"level{k}_var", torch.ones(channels))

    def to_latent(self, level: Level, k: int) -> Tensor:
        """(B, V, C, h, w): raw patches, normalised per channel by the statistics of level k."""
        mean, var = self._statistics(k)
        return (level.patches - mean) * torch.rsqrt(var + 1e-5)

    def to_level(self, latent: Tensor, camera: Tensor, k: int) -> Level:
        """Raw features of level k from latents (B, V, C, h, w) and camera tokens (B, V, C)."""
        mean, var = self._statistics(k)
        tokens = map_to_tokens(latent * torch.sqrt(var + 1e-5) + mean)
        return Level(torch.cat([camera[:, :, None].to(tokens), tokens], dim=2), (latent.shape[-2], latent.shape[-1]))

    def features(self, level0: Tensor, level1: Tensor, camera: Tensor) -> list[Tensor]:
        """All four levels in decoder space, (B, V, h * w, C) each, from latents of levels 0 and 1; camera: raw level-1
        camera tokens (B, V, C)."""
        first = self.to_level(level0, torch.zeros_like(camera), 0)
        boundary = self.to_level(level1, camera, BOUNDARY)
        levels = [first, boundary, *self.encoder.resume(boundary, BOUNDARY)]
        return [self.encoder.to_decoder(level) for level in levels]

    def _statistics(self, k: int) -> tuple[Tensor, Tensor]:
        mean, var = getattr(self, f"level{k}_mean"), getattr(self, f"level{k}_var")
        return mean[:, None, None], var[:, None, None]
