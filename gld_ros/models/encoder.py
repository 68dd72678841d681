"""The frozen geometric encoder: images of several views in, four levels of two-stream features out (DA3 layout)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.models.configs import EncoderConfig
from gld_ros.models.layers import Block, rope_table

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass
class Level:
    """Raw features at one tap. tokens: (B, V, 1 + h * w, 2C), token 0 is the camera token; channels local | global."""

    tokens: Tensor
    grid: tuple[int, int]

    @property
    def patches(self) -> Tensor:
        """(B, V, 2C, h, w)."""
        return tokens_to_map(self.tokens[:, :, 1:], self.grid)

    @property
    def camera(self) -> Tensor:
        """(B, V, 2C)."""
        return self.tokens[:, :, 0]


def tokens_to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, V, h * w, C) -> (B, V, C, h, w)."""
    B, V, _, C = tokens.shape
    return tokens.transpose(2, 3).reshape(B, V, C, *grid)


def map_to_tokens(x: Tensor) -> Tensor:
    """(B, V, C, h, w) -> (B, V, h * w, C)."""
    return x.flatten(3).transpose(2, 3)


def normalize_images(images: Tensor) -> Tensor:
    """ImageNet normalisation of (..., 3, H, W) in 0..1."""
    mean = images.new_tensor(IMAGE_MEAN)[:, None, None]
    std = images.new_tensor(IMAGE_STD)[:, None, None]
    return (images - mean) / std


class PatchEmbed(nn.Module):
    def __init__(self, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class GeometryEncoder(nn.Module):
    """Vision transformer that alternates attention inside a view and over all views (spec models.md A2).

    View 0 is the reference. `forward` gives every level; `resume` continues from a level, bit for bit.
    """

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        C = config.width
        self.patch_embed = PatchEmbed(config.patch, C)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.camera_token = nn.Parameter(torch.randn(1, 2, C) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + config.position_grid**2, C) * 0.02)
        self.blocks = nn.ModuleList(
            Block(C, config.heads, i >= config.qk_norm_from, config.block_eps, config.layer_scale)
            for i in range(len(config.schedule))
        )
        self.norm = nn.LayerNorm(C, eps=config.norm_eps)

    def forward(self, images: Tensor, levels: int = 4) -> list[Level]:
        """images: (B, V, 3, H, W) in 0..1, H and W multiples of the patch. Returns the first `levels` levels."""
        B, V, _, H, W = images.shape
        grid = H // self.config.patch, W // self.config.patch
        x = self.patch_embed(normalize_images(images.flatten(0, 1)))
        x = torch.cat([self.cls_token.expand(B * V, -1, -1), x], dim=1) + self.positions(grid)
        return self._run(x.reshape(B, V, *x.shape[1:]), grid, 0, self.config.taps[:levels])

    def resume(self, level: Level, index: int) -> list[Level]:
        """The levels after level `index`, from its global stream (the second half of the channels)."""
        taps = self.config.taps
        x = level.tokens[..., self.config.width :]
        return self._run(x, level.grid, taps[index] + 1, taps[index + 1 :])

    def to_decoder(self, level: Level) -> Tensor:
        """Patches (B, V, h * w, 2C) in decoder space: local half | norm(global half)."""
        local, current = level.tokens[:, :, 1:].chunk(2, dim=-1)
        return torch.cat([local, self.norm(current)], dim=-1)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """The learned position table (1, 1 + h * w, C) on another grid."""
        size, offset = self.config.position_grid, self.config.position_offset
        if grid == (size, size):
            return self.pos_embed
        table = self.pos_embed[:, 1:].float().reshape(1, size, size, -1).permute(0, 3, 1, 2)
        scale = [(g + offset) / size for g in grid]
        if offset:
            table = F.interpolate(table, scale_factor=scale, mode="bicubic")
        else:
            table = F.interpolate(table, size=grid, mode="bicubic")
        table = table.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)
        return torch.cat([self.pos_embed[:, :1], table], dim=1)

    def _run(self, x: Tensor, grid: tuple[int, int], first: int, taps: tuple[int, ...]) -> list[Level]:
        """Blocks `first` .. last tap on x (B, V, T, C)."""
        config = self.config
        B, V, T, C = x.shape
        ropes = self._ropes(grid, V, x.device)
        local, levels = x, []
        for i in range(first, taps[-1] + 1):
            if i == config.camera_token_from:
                roles = torch.tensor([0] + [1] * (V - 1), device=x.device)
                token = self.camera_token[0, roles].expand(B, V, C).unsqueeze(2)
                x = torch.cat([token.to(x.dtype), x[:, :, 1:]], dim=2)
            kind = config.schedule[i]
            rope = ropes[kind] if i >= config.rope_from else None
            if kind == "L":
                x = self.blocks[i](x.flatten(0, 1), rope).reshape(B, V, T, C)
                local = x
            else:
                x = self.blocks[i](x.flatten(1, 2), rope).reshape(B, V, T, C)
            if i in taps:
                levels.append(Level(torch.cat([local, x], dim=-1), grid))
        return levels

    def _ropes(self, grid: tuple[int, int], views: int, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
        """Rotary tables: (row, column) from 1 in local blocks, every patch (1, 1) in global ones ("nodiff")."""
        rows, columns = torch.meshgrid(*(torch.arange(1, g + 1, device=device) for g in grid), indexing="ij")
        zero = torch.zeros(1, 2, device=device)
        local = torch.cat([zero, torch.stack([rows.flatten(), columns.flatten()], dim=1).float()])
        flat = torch.cat([zero, torch.ones(grid[0] * grid[1], 2, device=device)]).repeat(views, 1)
        head_dim = self.config.width // self.config.heads
        return {"L": rope_table(local, head_dim), "G": rope_table(flat, head_dim)}
