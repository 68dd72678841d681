# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The diffusion transformer over appearance and geometry side by side (spec gen3r.md, "Transformer").

Wan 2.1 Fun 1.3B with control adapter. A latent map (B, C, f, h, 2w) holds appearance in its left half, geometry in its
right half. Parameter names are those of the published checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from gld_ros.geometry.rays import exact
from gld_ros.networks.gen3r.configs import TransformerConfig
from gld_ros.networks.gen3r.latents import SPACE, latent_frames
from gld_ros.networks.layers import attend, normal

FREQUENCIES, EPS = 256, 1e-6
#: Tokens of the first picture.
IMAGE_TOKENS = 257
#: Tokens that the feed-forward layers take at once: their hidden features are the largest there are.
PART = 4096


@dataclass
class Context:
    """Embedded tokens that every block attends to. text: (B, 512, D); image: (1 or B, 257, D)."""

    text: Tensor
    image: Tensor


class JointTransformer(nn.Module):
    """Velocity (noise - data) of both halves.

    What stays the same over the steps of a request is embedded once: `context_of` the prompt and the first picture,
    `control_of` the rays.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        D = config.width
        self.patch_embedding = nn.Conv3d(config.latent + config.condition, D, (1, 2, 2), (1, 2, 2))
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_width, D), nn.GELU(approximate="tanh"), nn.Linear(D, D)
        )
        self.time_embedding = nn.Sequential(nn.Linear(FREQUENCIES, D), nn.SiLU(), nn.Linear(D, D))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(D, 6 * D))
        self.blocks = nn.ModuleList(JointBlock(config) for _ in range(config.layers))
        self.head = Head(D, 4 * config.latent)
        self.img_emb = ImageEmbedding(config.image_width, D)
        self.control_adapter = ControlAdapter(config.rays, D)

    def context_of(self, texts: list[Tensor], image: Tensor) -> Context:
        """texts: states (T, text_width) of the text encoder, at most 512 rows each; image: (1 or B, 257, 1280)."""
        rows = self.config.text_rows
        padded = torch.stack([F.pad(text, (0, 0, 0, rows - len(text))) for text in texts])
        return Context(self.text_embedding(padded), self.img_emb(image))

    def control_of(self, rays: Tensor) -> Tensor:
        """(B, D, f, h / 2, w) of packed rays (B, 24, f, 8 h, 16 w); those of no cameras are zeros, not None."""
        return self.control_adapter(rays)

    @exact
    def time_of(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """e (B, D) and its projection (B, 6, D) of t (B,) in 0..1000, whatever the caller's autocast: their weights are
        kept in float32, as officially."""
        embedded = self.time_embedding(time_waves(t))
        return embedded.float(), self.time_projection(embedded).float().unflatten(1, (6, -1))

    def forward(self, x: Tensor, condition: Tensor, t: Tensor, context: Context, control: Tensor | None) -> Tensor:
        """x: (B, 16, f, h, 2w); condition: (B, 20, f, h, 2w) latents, then masks; t: (B,) in 0..1000; control: as
        `control_of`, None for a transformer without. Returns (B', 16, f, h, 2w), B' the batch of the context's text:
        with B = 1 several prompts share everything up to the blocks."""
        patches = self.patch_embedding(torch.cat([x, condition], dim=1))
        if control is not None:
            patches = patches + control
        grid = (patches.shape[2], patches.shape[3], patches.shape[4])
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = tokens.expand(len(context.text), -1, -1)
        embedded, modulation = self.time_of(t)
        rope = self.positions(grid, x.device)
        for block in self.blocks:
            tokens = block(tokens, modulation, context, rope)
        out = self.head(tokens, embedded)
        f, h, w = grid
        return rearrange(out, "b (f h w) (p q c) -> b c f (h p) (w q)", f=f, h=h, w=w, p=2, q=2).float()

    def positions(self, grid: tuple[int, int, int], device: torch.device) -> Tensor:
        """Rotary table (f h 2w, head / 2), complex64: a pixel of appearance and one of geometry share their place."""
        f, h, w = grid
        columns = torch.arange(w)
        if not (self.config.compat.plain_positions_if_square and h == w):
            columns = columns % (w // 2)
        head = self.config.width // self.config.heads
        return rotary_table(torch.arange(f), torch.arange(h), columns, head).to(device)


class JointBlock(nn.Module):
    """Modulated self attention over all tokens, cross attention to text and picture, modulated feed-forward."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        D = config.width
        self.modulation = normal(1, 6, D, std=D**-0.5)
        self.norm1 = nn.LayerNorm(D, EPS, elementwise_affine=False)
        self.self_attn = SelfAttention(D, config.heads)
        self.norm3 = nn.LayerNorm(D, EPS)
        self.cross_attn = CrossAttention(D, config.heads)
        self.norm2 = nn.LayerNorm(D, EPS, elementwise_affine=False)
        self.ffn = nn.Sequential(nn.Linear(D, config.hidden), nn.GELU(approximate="tanh"), nn.Linear(config.hidden, D))

    def forward(self, x: Tensor, modulation: Tensor, context: Context, rope: Tensor) -> Tensor:
        """x: (B, T, D); modulation: (1 or B, 6, D); rope: (T, head / 2)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation + modulation).chunk(6, dim=1)
        x = x + gate1 * self.self_attn(self.norm1(x) * (1 + scale1) + shift1, rope)
        x = x + self.cross_attn(self.norm3(x), context)
        y = self.norm2(x) * (1 + scale2) + shift2
        return x + gate2 * torch.cat([self.ffn(part) for part in y.split(PART, dim=1)], dim=1)


class SelfAttention(nn.Module):
    """q and k are normalised over all heads together, in float32, then rotated."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(width, EPS), nn.RMSNorm(width, EPS)

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        q, k = self.split(self.norm_q(self.q(x).float())), self.split(self.norm_k(self.k(x).float()))
        v = self.split(self.v(x))
        return self.o(_merged(attend(turned(q, rope).to(v), turned(k, rope).to(v), v)))

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        return rearrange(x, "b t (heads c) -> b heads t c", heads=self.heads)


class CrossAttention(SelfAttention):
    """Attention to text and to picture, each with a softmax of its own, summed."""

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads)
        self.k_img, self.v_img, self.norm_k_img = (
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.RMSNorm(width, EPS),
        )

    def forward(self, x: Tensor, context: Context) -> Tensor:  # type: ignore[override]  # text and image
        q = self.split(self.norm_q(self.q(x).float()))
        text = self.split(self.norm_k(self.k(context.text).float())), self.split(self.v(context.text))
        image = self.split(self.norm_k_img(self.k_img(context.image).float())), self.split(self.v_img(context.image))
        q = q.to(text[1])
        from_text, from_image = (
            attend(q, *(y.to(q).expand(len(q), -1, -1, -1) for y in pair)) for pair in (text, image)
        )
        return self.o(_merged(from_text + from_image))


class Head(nn.Module):
    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.modulation = normal(1, 2, width, std=width**-0.5)
        self.norm = nn.LayerNorm(width, EPS, elementwise_affine=False)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """x: (B, T, D); embedded: (1 or B, D), the time before its projection."""
        shift, scale = (self.modulation + embedded[:, None]).chunk(2, dim=1)
        return self.head(self.norm(x) * (1 + scale) + shift)


class ImageEmbedding(nn.Module):
    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(inputs), nn.Linear(inputs, inputs), nn.GELU(), nn.Linear(inputs, width), nn.LayerNorm(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class ControlAdapter(nn.Module):
    """Rays to what is added to the patches. Its convolutions see across the seam of the halves, as released."""

    def __init__(self, rays: int, width: int):
        super().__init__()
        self.conv = nn.Conv2d(64 * rays, width, 2, 2)
        self.residual_blocks = nn.Sequential(ControlBlock(width))

    def forward(self, rays: Tensor) -> Tensor:
        """(B, 24, f, 8 h, 16 w) -> (B, D, f, h / 2, w)."""
        frames = (self.residual_blocks(self.conv(F.pixel_unshuffle(frame, 8))) for frame in rays.unbind(2))
        return torch.stack([*frames], dim=2)


class ControlBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


def evaluation_flops(config: TransformerConfig, frames: int, size: tuple[int, int], texts: int = 2) -> int:
    """FLOPs of one evaluation for a clip of (H, W) images; with guidance it has two texts.

    As torch counts them on the meta device: 2 a multiply-add of matrix products, convolutions and attention. Raises
    InvalidRequest for frames that are not 4 n + 1.
    """
    f, h, w = latent_frames(frames), size[0] // SPACE, size[1] // SPACE
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net = JointTransformer(config)
        x, condition = (torch.empty(1, channels, f, h, 2 * w) for channels in (config.latent, config.condition))
        rows = torch.empty(texts, config.text_rows, config.width)
        context = Context(rows, torch.empty(1, IMAGE_TOKENS, config.width))
        net(x, condition, torch.empty(1), context, None)
    return counter.get_total_flops()


def time_waves(t: Tensor) -> Tensor:
    """[cos, sin] (B, 256) of t (B,) at frequencies 10000^(-i / 128), computed in float64."""
    half = FREQUENCIES // 2
    angle = t.double()[:, None] * 10000 ** (-torch.arange(half, device=t.device, dtype=torch.float64) / half)
    return torch.cat([angle.cos(), angle.sin()], dim=1).float()


def rotary_table(frames: Tensor, rows: Tensor, columns: Tensor, head: int) -> Tensor:
    """exp(i angle) (f h w, head / 2), complex64, of positions along each axis; theta 10000, computed in float64.

    Of the pairs the rows and the columns have a third each, rounded down; the frames have the rest, and come first.
    """
    third = head // 6
    tables = []
    for positions, pairs in ((frames, head // 2 - 2 * third), (rows, third), (columns, third)):
        frequency = 10000 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        tables.append(torch.outer(positions.double(), frequency))
    f, h, w = len(frames), len(rows), len(columns)
    shapes = ((f, 1, 1), (1, h, 1), (1, 1, w))
    angle = torch.cat(
        [table.reshape(*shape, -1).expand(f, h, w, -1) for table, shape in zip(tables, shapes, strict=True)], dim=-1
    ).flatten(0, 2)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def turned(x: Tensor, rope: Tensor) -> Tensor:
    """x (B, heads, T, C) float32 with its pairs of neighbouring channels rotated by rope (T, C / 2)."""
    return torch.view_as_real(torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous()) * rope).flatten(-2)


def _merged(x: Tensor) -> Tensor:
    return rearrange(x, "b heads t c -> b t (heads c)")
