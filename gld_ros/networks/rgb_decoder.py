# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The RGB decoder: one MAE-like transformer on all four levels (spec models.md B1)."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.networks.configs import RGBDecoderConfig
from gld_ros.networks.encoder import IMAGE_MEAN, IMAGE_STD
from gld_ros.networks.layers import attend, sincos


class SelfAttention(nn.Module):
    """Names as in ViTMAE: attention.{query, key, value}, output.dense."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"{width} channels do not split into {heads} heads")
        self.heads = heads
        self.attention = nn.ModuleDict({k: nn.Linear(width, width) for k in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            self.attention[name](x).unflatten(2, (self.heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
        )
        return self.output["dense"](attend(q, k, v).transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    def __init__(self, config: RGBDecoderConfig):
        super().__init__()
        self.attention = SelfAttention(config.width, config.heads)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.width, config.hidden)})
        self.output = nn.ModuleDict({"dense": nn.Linear(config.hidden, config.width)})
        self.layernorm_before = nn.LayerNorm(config.width, eps=config.eps)
        self.layernorm_after = nn.LayerNorm(config.width, eps=config.eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output["dense"](F.gelu(self.intermediate["dense"](self.layernorm_after(x))))


class PixelTail(nn.Module):
    """Convolutions over the borders of the patches, so that no seams show, and then pixels."""

    def __init__(self, channels: int, upscale: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, 3 * upscale**2, 3, padding=1, padding_mode="replicate")
        self.upscale = upscale

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 3, upscale * H, upscale * W)."""
        x = x + self.conv2(F.silu(self.conv1(x)))
        return F.pixel_shuffle(self.out(x), self.upscale)


class RGBDecoder(nn.Module):
    """Levels 0..3 in decoder space, channel-concatenated, to pixels: `upscale` times as many a side as were encoded."""

    def __init__(self, channels: int, patch: int, config: RGBDecoderConfig):
        super().__init__()
        self.config = config
        self.decoder_embed = nn.Linear(4 * channels, config.width)
        self.trainable_cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        with torch.device("cpu"):  # no arithmetic on the meta device: torch would import its compiler for it
            table = position_table(config.base_grid, config.width)
        self.decoder_pos_embed = nn.Parameter(torch.empty(table.shape).copy_(table), requires_grad=False)
        self.decoder_layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.depth))
        self.decoder_norm = nn.LayerNorm(config.width, eps=config.eps)
        #: Pixels a patch and side before the tail, and their channels.
        self.side, channels = (patch, config.tail) if config.tail else (patch * config.upscale, 3)
        self.decoder_pred = nn.Linear(config.width, self.side**2 * channels)
        self.tail = PixelTail(config.tail, config.upscale) if config.tail else None

    def forward(self, levels: list[Tensor], grid: tuple[int, int]) -> Tensor:
        """levels: four (B, V, h * w, 2C) in decoder space.

        Returns (B, V, 3, upscale * H, upscale * W) of the encoded size (H, W), about 0..1, not clamped.
        """
        B, V = levels[0].shape[:2]
        x = self.decoder_embed(torch.cat(levels, dim=-1).flatten(0, 1))
        x = torch.cat([self.trainable_cls_token.expand(B * V, -1, -1), x], dim=1) + self.positions(grid)
        for layer in self.decoder_layers:
            x = layer(x)
        x = self.decoder_pred(self.decoder_norm(x))[:, 1:]
        h, w = grid
        # Channels last in memory: convolutions are faster on it, and the patches' pixels lie like that already.
        x = rearrange(x, "n (h w) (p q c) -> n (h p) (w q) c", h=h, w=w, p=self.side, q=self.side).permute(0, 3, 1, 2)
        image = (x if self.tail is None else self.tail(x)).float().contiguous().unflatten(0, (B, V))
        return image * image.new_tensor(IMAGE_STD)[:, None, None] + image.new_tensor(IMAGE_MEAN)[:, None, None]

    def positions(self, grid: tuple[int, int]) -> Tensor:
        base = self.config.base_grid
        table = self.decoder_pos_embed[:, 1:].float().reshape(1, base, base, -1).permute(0, 3, 1, 2)
        table = F.interpolate(table, size=grid, mode="bicubic").flatten(2).transpose(1, 2)
        return torch.cat([self.decoder_pos_embed[:, :1], table.to(self.decoder_pos_embed.dtype)], dim=1)


def position_table(grid: int, width: int) -> Tensor:
    """Fixed sin-cos table (1, 1 + grid^2, width): columns in the first half, rows in the second; class row zero."""
    y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    table = torch.cat([sincos(x.flatten(), width // 2, 10000.0), sincos(y.flatten(), width // 2, 10000.0)], dim=1)
    return torch.cat([torch.zeros(1, width), table])[None]
