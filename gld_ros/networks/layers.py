# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Transformer parts that several networks share. Parameter names are those of the published checkpoints."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


def normal(*shape: int, std: float = 0.02) -> nn.Parameter:
    """A parameter drawn around 0."""
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=std))


class Mlp(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    def __init__(self, width: int, init: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head attention, fused qkv; optional per-head LayerNorm of q and k, optional rotary positions."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False, qk_eps: float = 1e-5):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        if qk_norm:
            self.q_norm = nn.LayerNorm(width // heads, eps=qk_eps)
            self.k_norm = nn.LayerNorm(width // heads, eps=qk_eps)
        self.qk_norm = qk_norm

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """x: (B, T, C); rope: cos and sin (T, head_dim)."""
        q, k, v = rearrange(self.qkv(x), "b t (three heads c) -> three b heads t c", three=3, heads=self.heads)
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rotate(q, *rope).to(v), rotate(k, *rope).to(v)
        return self.proj(rearrange(attend(q, k, v), "b heads t c -> b t (heads c)"))


class Block(nn.Module):
    """Pre-LayerNorm transformer block with LayerScale (DINOv2)."""

    def __init__(self, width: int, heads: int, qk_norm: bool, eps: float, layer_scale: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qk_norm)
        self.ls1 = LayerScale(width, layer_scale)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, 4 * width)
        self.ls2 = LayerScale(width, layer_scale)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), rope))
        return x + self.ls2(self.mlp(self.norm2(x)))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention of (B, heads, T, head_dim); written out for bfloat16 on CPUs, where SDPA is 2-5x slower."""
    if q.device.type == "cpu" and v.dtype == torch.bfloat16:
        return ((q * q.shape[-1] ** -0.5).to(v) @ k.to(v).transpose(-1, -2)).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """2-D rotary embedding, half-split inside the row half and the column half of the head (spec models.md A2.8)."""
    rows, columns = x.chunk(2, dim=-1)
    turned = []
    for part in (rows, columns):
        first, second = part.chunk(2, dim=-1)
        turned.append(torch.cat([-second, first], dim=-1))
    return x * cos + torch.cat(turned, dim=-1) * sin


def rope_table(positions: Tensor, head_dim: int, base: float = 100.0) -> tuple[Tensor, Tensor]:
    """cos and sin (T, head_dim) in float32 for positions (T, 2) = (row, column)."""
    half = head_dim // 2
    frequency = base ** (-torch.arange(0, half, 2, device=positions.device, dtype=torch.float32) / half)
    angles = [positions[:, axis : axis + 1].float() * frequency for axis in (0, 1)]
    angle = torch.cat([angles[0], angles[0], angles[1], angles[1]], dim=-1)
    return angle.cos(), angle.sin()


def sincos(positions: Tensor, width: int, base: float) -> Tensor:
    """[sin, cos] of (N,) positions at width / 2 frequencies base^(-j / (width / 2)): (N, width), float32."""
    frequency = base ** (-torch.arange(width // 2, device=positions.device, dtype=torch.float64) / (width // 2))
    angle = positions.double()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1).float()


def conv(a: int, b: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, GroupNorm, ReLU: the unit of the small pixel networks."""
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.GroupNorm(4, b), nn.ReLU())


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weights and bias 0, so that it begins without a say."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def grow(x: Tensor, like: Tensor) -> Tensor:
    """x at the size of `like`."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
