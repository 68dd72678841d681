# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The frozen geometric encoder: images of several views in, four levels of two-stream features out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.networks.configs import EncoderConfig, StemConfig
from gld_ros.networks.layers import Block, normal, rope_table

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass
class Level:
    """Raw features at one tap. tokens: (B, V, S + h * w, 2C), S special tokens first; channels local | global."""

    tokens: Tensor
    grid: tuple[int, int]

    @property
    def patches(self) -> Tensor:
        """(B, V, 2C, h, w)."""
        return tokens_to_map(self.patch_tokens, self.grid)

    @property
    def patch_tokens(self) -> Tensor:
        """(B, V, h * w, 2C)."""
        return self.tokens[:, :, -self.grid[0] * self.grid[1] :]

    @property
    def special(self) -> Tensor:
        """(B, V, S, 2C): the camera token, then the registers."""
        return self.tokens[:, :, : -self.grid[0] * self.grid[1]]

    @property
    def camera(self) -> Tensor:
        """(B, V, 2C): the camera token."""
        return self.tokens[:, :, 0]


def tokens_to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, V, h * w, C) -> (B, V, C, h, w)."""
    return rearrange(tokens, "b v (h w) c -> b v c h w", h=grid[0], w=grid[1])


def map_to_tokens(x: Tensor) -> Tensor:
    """(B, V, C, h, w) -> (B, V, h * w, C)."""
    return rearrange(x, "b v c h w -> b v (h w) c")


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


class VisionStem(nn.Module):
    """Plain DINOv2 with registers in front of VGGT's alternating blocks (spec models.md C)."""

    def __init__(self, config: EncoderConfig, stem: StemConfig):
        super().__init__()
        self.config, self.stem = config, stem
        C = config.width
        self.patch_embed = PatchEmbed(config.patch, C)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.register_tokens = nn.Parameter(torch.zeros(1, stem.registers, C))
        self.pos_embed = normal(1, 1 + config.position_grid**2, C)
        self.blocks = nn.ModuleList(Block(C, stem.heads, False, stem.eps, stem.layer_scale) for _ in range(stem.depth))
        self.norm = nn.LayerNorm(C, eps=stem.eps)

    def forward(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Normalised images (N, 3, H, W) to patch tokens (N, h * w, C)."""
        x = self.patch_embed(images)
        positions = position_table(self.pos_embed, grid, self.config.position_offset, self.config.position_antialias)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + positions
        # Registers come after the positions: they carry none.
        x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1 + self.stem.registers :]


class GeometryEncoder(nn.Module):
    """Vision transformer that alternates attention inside a view and over all views (spec models.md A2, C).

    View 0 is the reference. `forward` gives every level; `resume` continues from a level, bit for bit.
    """

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        C = config.width
        if config.stem is None:
            self.patch_embed: nn.Module = PatchEmbed(config.patch, C)
            self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
            self.camera_token = normal(1, 2, C)
            self.pos_embed = normal(1, 1 + config.position_grid**2, C)
        else:
            self.patch_embed = VisionStem(config, config.stem)
            self.camera_token = normal(1, 2, 1, C)
            self.register_token = normal(1, 2, config.registers, C)
        self.blocks = nn.ModuleList(
            Block(C, config.heads, i >= config.qk_norm_from, config.block_eps, config.layer_scale)
            for i in range(len(config.schedule))
        )
        if config.final_norm:
            self.norm = nn.LayerNorm(C, eps=config.norm_eps)

    def forward(self, images: Tensor, levels: int = 4) -> list[Level]:
        """images: (B, V, 3, H, W) in 0..1, H and W multiples of the patch. Returns the first `levels` levels."""
        B, V, _, H, W = images.shape
        grid = H // self.config.patch, W // self.config.patch
        x = self.embed(images, grid)
        return self._run(x, grid, 0, self.config.taps[:levels])

    def embed(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (B, V, S + h * w, C) before the first block."""
        B, V = images.shape[:2]
        images = normalize_images(images.flatten(0, 1))
        if self.config.stem is None:
            x = self.patch_embed(images)
            x = torch.cat([self.cls_token.expand(B * V, -1, -1), x], dim=1)
            positions = position_table(
                self.pos_embed, grid, self.config.position_offset, self.config.position_antialias
            )
            return (x + positions).unflatten(0, (B, V))
        x = self.patch_embed(images, grid).unflatten(0, (B, V))
        return torch.cat([self.special_tokens(B, V).to(x.dtype), x], dim=2)

    def special_tokens(self, B: int, V: int) -> Tensor:
        """The learned tokens (B, V, S, C) of the reference view and of the others."""
        if self.config.stem is None:
            tokens = self.camera_token[:, :, None]
        else:
            tokens = torch.cat([self.camera_token, self.register_token], dim=2)
        return torch.cat([tokens[:, :1], tokens[:, 1:].expand(-1, V - 1, -1, -1)], dim=1).expand(B, -1, -1, -1)

    def resume(self, level: Level, index: int) -> list[Level]:
        """The levels after level `index`, from its global stream (the second half of the channels); none after the
        last."""
        taps = self.config.taps
        if not taps[index + 1 :]:
            return []
        x = level.tokens[..., self.config.width :]
        return self._run(x, level.grid, taps[index] + 1, taps[index + 1 :])

    def to_decoder(self, level: Level) -> Tensor:
        """Patches (B, V, h * w, 2C) as the decoders read them: local half | norm(global half), or raw (VGGT)."""
        if not self.config.final_norm:
            return level.patch_tokens
        local, current = level.patch_tokens.chunk(2, dim=-1)
        return torch.cat([local, self.norm(current)], dim=-1)

    def _run(self, x: Tensor, grid: tuple[int, int], first: int, taps: tuple[int, ...]) -> list[Level]:
        """Blocks `first` .. last tap on x (B, V, T, C)."""
        config = self.config
        B, V, T, C = x.shape
        ropes = self._ropes(grid, V, x.device)
        local, levels = x, []
        for i in range(first, taps[-1] + 1):
            if config.stem is None and i == config.camera_token_from:
                x = torch.cat([self.special_tokens(B, V).to(x.dtype), x[:, :, 1:]], dim=2)
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
        """Rotary tables: (row, column) from 1, special tokens at 0; in global blocks, if "flat", every patch (1, 1)."""
        rows, columns = torch.meshgrid(*(torch.arange(1, g + 1, device=device) for g in grid), indexing="ij")
        patches = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
        special = patches.new_zeros(self.config.specials, 2)
        local = torch.cat([special, patches])
        over_all = local if self.config.global_rope == "grid" else torch.cat([special, torch.ones_like(patches)])
        head_dim = self.config.width // self.config.heads
        return {"L": rope_table(local, head_dim), "G": rope_table(over_all.repeat(views, 1), head_dim)}


def position_table(table: Tensor, grid: tuple[int, int], offset: float = 0.0, antialias: bool = False) -> Tensor:
    """A learned position table (1, 1 + n^2, C) on another grid, (1, 1 + h * w, C), class row first.

    offset: what the original network adds to both sides of the grid before it scales. antialias: without an offset.
    """
    size = math.isqrt(table.shape[1] - 1)
    if grid == (size, size):
        return table
    patches = table[:, 1:].float().reshape(1, size, size, -1).permute(0, 3, 1, 2)
    if offset:
        scale = [(g + offset) / size for g in grid]
        patches = F.interpolate(patches, scale_factor=scale, mode="bicubic")
    else:
        patches = F.interpolate(patches, size=grid, mode="bicubic", antialias=antialias)
    return torch.cat([table[:, :1], patches.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)
