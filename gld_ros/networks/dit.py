# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The multi-view diffusion transformer with a DDT head: level 1, and level 0 from it (spec gld.md)."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from gld_ros.networks import prope
from gld_ros.networks.configs import DiTConfig, ModelConfig
from gld_ros.networks.encoder import map_to_tokens, tokens_to_map
from gld_ros.networks.layers import attend, normal
from gld_ros.networks.prope import CameraTables


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


def swiglu_hidden(width: int, ratio: float) -> int:
    """Hidden channels of a block's MLP."""
    return int(2 / 3 * int(ratio * width))


class SwiGLU(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class CameraAttention(nn.Module):
    """Attention over the tokens of all views, q, k, v and output transformed by PRoPE."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % (8 * heads):
            raise ValueError(f"{width} channels do not split into {heads} heads of a multiple of 8 channels")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, tables: CameraTables) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b t (three heads c) -> three b heads t c", three=3, heads=self.heads)
        y = prope.decode(attend(*prope.encode(q, k, v, tables)), tables)
        return self.proj(rearrange(y, "b heads t c -> b t (heads c)"))


class DiTBlock(nn.Module):
    """RMSNorm, adaLN, attention; RMSNorm, adaLN, SwiGLU. The condition is per scene or per token."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = RMSNorm(width)
        self.attn = CameraAttention(width, heads)
        self.norm2 = RMSNorm(width)
        self.mlp = SwiGLU(width, swiglu_hidden(width, mlp_ratio))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor, tables: CameraTables) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition).chunk(6, dim=-1)
        x = x + gate1 * self.attn(self.norm1(x) * (1 + scale1) + shift1, tables)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class FinalLayer(nn.Module):
    def __init__(self, width: int, channels: int):
        super().__init__()
        self.norm_final = RMSNorm(width)
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=-1)
        return self.linear(self.norm_final(x) * (1 + scale) + shift)


class TimeEmbedder(nn.Module):
    """Frozen Gaussian Fourier features of t, then an MLP."""

    def __init__(self, width: int):
        super().__init__()
        self.W = nn.Parameter(torch.randn(256), requires_grad=False)
        self.mlp = nn.Sequential(nn.Linear(512, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        angle = 2 * math.pi * t.float()[:, None] * self.W.float()
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1).to(next(self.mlp.parameters()).dtype))


class PatchProjection(nn.Module):
    def __init__(self, channels: int, width: int, patch: int = 1):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, V, C, h, w), h and w multiples of the patch -> (B, V, tokens, width)."""
        return self.proj(x.flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, x.shape[:2])


class MultiViewDiT(nn.Module):
    """Predicts the velocity of all views' latents, or their data (`DiTConfig.prediction`).

    An encoder reads condition, noise (or, for level 0, level 1) and cameras; its tokens modulate, one by one, a wide
    head that reads condition and noise. Latents are maps (B, V, C, h, w), or packed with `special_tokens` tokens in
    front of the patches: (B, V, C, S + h * w, 1).
    """

    def __init__(self, channels: int, patch: int, config: DiTConfig):
        super().__init__()
        self.config = config
        D, head, S = config.width, config.head_width, config.special_tokens
        roles = ("_ref", "_tgt") if config.split_embedders else ("",)
        for role in roles:
            setattr(self, f"x_embedder{role}", PatchProjection(2 * channels, head))
            setattr(self, f"s_embedder{role}", PatchProjection(channels + (config.level1_channels or channels), D))
        if S:
            self.special_s_embedder = nn.Linear(2 * channels, D)
            self.special_x_embedder = nn.Linear(2 * channels, head)
            self.special_pos_embed_s = normal(1, S, D)
            self.special_pos_embed_x = normal(1, S, head)
            self.special_output_proj = nn.Linear(channels, channels)
        self.s_projector = nn.Linear(D, head)
        self.t_embedder = TimeEmbedder(D)
        self.camera_embedder = PatchProjection(config.camera_channels, D, patch)
        self.blocks = nn.ModuleList(
            [DiTBlock(D, config.heads, config.mlp_ratio) for _ in range(config.depth)]
            + [DiTBlock(head, config.head_heads, config.mlp_ratio) for _ in range(config.head_depth)]
        )
        self.final_layer = FinalLayer(head, channels)
        for part in (*self.blocks, self.final_layer):
            nn.init.zeros_(part.adaLN_modulation[1].weight)
            nn.init.zeros_(part.adaLN_modulation[1].bias)
        nn.init.zeros_(self.final_layer.linear.weight)
        nn.init.zeros_(self.final_layer.linear.bias)

    @property
    def head_dims(self) -> tuple[int, int]:
        """Channels of one attention head in the encoder and in the DDT head."""
        return self.config.width // self.config.heads, self.config.head_width // self.config.head_heads

    def forward(
        self,
        noisy: Tensor,
        condition: Tensor,
        t: Tensor,
        camera_map: Tensor,
        tables: tuple[CameraTables, CameraTables],
        sources: int,
        level1: Tensor | None = None,
    ) -> Tensor:
        """noisy, condition: latents of all views, sources first; t: (B,); camera_map: (B, V, c, H, W); tables: PRoPE of
        encoder and head; level1: latents that level 0 is conditioned on. Returns the shape of `noisy`.

        What stays the same over many calls may be given embedded: t as (B, D) by `t_embedder`, camera_map as
        (B, V, h * w, D) by `camera_embedder`.
        """
        V, depth = noisy.shape[1], self.config.depth
        time = (t if t.ndim == 2 else self.t_embedder(t))[:, None]
        camera = camera_map if camera_map.ndim == 4 else self.camera_embedder(camera_map)
        outer = torch.cat([condition, noisy], dim=2)
        inner = outer if level1 is None else torch.cat([condition, level1], dim=2)
        s = self._embed("s", inner, outer, sources, camera).flatten(1, 2)
        x = self._embed("x", outer, outer, sources).flatten(1, 2)
        modulation = F.silu(time)
        for block in self.blocks[:depth]:
            s = block(s, modulation, tables[0])
        per_token = self.s_projector(F.silu(time + s))
        for block in self.blocks[depth:]:
            x = block(x, per_token, tables[1])
        x = self.final_layer(x, per_token).unflatten(1, (V, -1))
        if S := self.config.special_tokens:
            x = torch.cat([self.special_output_proj(x[:, :, :S]), x[:, :, S:]], dim=2)
        return tokens_to_map(x, (noisy.shape[-2], noisy.shape[-1]))

    def _embed(self, name: str, x: Tensor, own: Tensor, sources: int, camera: Tensor | None = None) -> Tensor:
        """Tokens (B, V, S + h * w, D): patches of `x`, plus the camera's; special tokens of `own` with positions."""
        S = self.config.special_tokens
        patches = x[:, :, :, S:]
        if self.config.split_embedders:
            reference, target = getattr(self, f"{name}_embedder_ref"), getattr(self, f"{name}_embedder_tgt")
            tokens = torch.cat([reference(patches[:, :sources]), target(patches[:, sources:])], dim=1)
        else:
            tokens = getattr(self, f"{name}_embedder")(patches)
        if camera is not None:
            tokens = tokens + camera
        if S:
            special = getattr(self, f"special_{name}_embedder")(map_to_tokens(own[:, :, :, :S]))
            tokens = torch.cat([special + getattr(self, f"special_pos_embed_{name}"), tokens], dim=2)
        return tokens


def evaluation_flops(config: ModelConfig, stage: str, views: int, grid: tuple[int, int]) -> int:
    """FLOPs of one evaluation of a stage's network, "level1" or "level0", for one scene of `views` views.

    As torch counts them on the meta device: 2 a multiply-add of matrix products, convolutions and attention.
    """
    channels, patch, (h, w) = config.encoder.channels, config.encoder.patch, grid
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        dit = MultiViewDiT(channels, patch, getattr(config, stage))
        S, hint = dit.config.special_tokens, dit.config.level1_channels
        shape = (S + h * w, 1) if S else grid
        latent, pose = torch.empty(1, views, channels, *shape), torch.empty(1, views, 4, 4)
        camera_map = torch.empty(1, views, dit.config.camera_channels, h * patch, w * patch)
        encoder, head = (CameraTables(pose, pose, *torch.empty(2, h * w, dim // 4)) for dim in dit.head_dims)
        level1 = torch.empty(1, views, hint, *shape) if hint else None
        dit(latent, latent, torch.empty(1), camera_map, (encoder, head), 1, level1)
    return counter.get_total_flops()
