# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Causal 3-D blocks that go over a clip chunk by chunk (Wan 2.1's VAE; spec gen3r.md, "Geometry adapter").

Maps are (B, C, F, h, w). What a layer needs of earlier frames lies in a `Stream`, one for each pass over a clip, so
that no more than one chunk of any map exists at once. Parameter names are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.networks.layers import attend


class Stream:
    """The memory of one network's layers while a clip passes in chunks. first: the current chunk is its first."""

    def __init__(self) -> None:
        self.first = True
        self._memory: dict[nn.Module, Tensor] = {}

    def joined(self, layer: nn.Module, x: Tensor, frames: int) -> Tensor:
        """x (B, C, F, h, w) behind the last `frames` frames that `layer` was given; zeros before the first."""
        past = self._memory.get(layer)
        if past is None:
            past = x.new_zeros(x.shape[0], x.shape[1], frames, *x.shape[3:])
        x = torch.cat([past, x], dim=2)
        self._memory[layer] = x[:, :, -frames:].clone()  # a view would keep the whole chunk
        return x

    def remember(self, layer: nn.Module, x: Tensor) -> None:
        """The frames of x are what `layer` is given before the next chunk."""
        self._memory[layer] = x


class CausalConv3d(nn.Conv3d):
    """Convolution of k x k x k: zeros around each frame, and k - 1 earlier frames in front."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int, int]):
        size = (kernel, kernel, kernel) if isinstance(kernel, int) else kernel
        super().__init__(inputs, outputs, size, padding=(0, size[1] // 2, size[2] // 2))
        self.past = size[0] - 1

    def forward(self, x: Tensor, stream: Stream) -> Tensor:  # type: ignore[override]  # a stream, too
        return super().forward(stream.joined(self, x, self.past) if self.past else x)


class ChannelRMS(nn.Module):
    """x / |x| * sqrt(C) * gamma over the channels of (B, C, ...), in the dtype of x. dims: of space and time, which
    gamma's shape has."""

    def __init__(self, channels: int, dims: int = 3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * dims))

    def forward(self, x: Tensor) -> Tensor:
        # Under autocast this comes out in float32, and twice as much of the last frames would be kept.
        return (F.normalize(x, dim=1) * x.shape[1] ** 0.5 * self.gamma).to(x)


class ResidualBlock(nn.Module):
    """Norm, SiLU and convolution, twice, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.residual = nn.Sequential(
            ChannelRMS(inputs), nn.SiLU(), CausalConv3d(inputs, outputs, 3),
            ChannelRMS(outputs), nn.SiLU(), nn.Identity(), CausalConv3d(outputs, outputs, 3),
        )  # fmt: skip
        self.shortcut = CausalConv3d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        return run(self.residual, x, stream) + (x if self.shortcut is None else self.shortcut(x, stream))


class FrameAttention(nn.Module):
    """One head of attention over the positions of each frame, with a residual."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = ChannelRMS(channels, dims=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        def attention(frames: Tensor) -> Tensor:
            qkv = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2)[:, None]
            y = attend(*qkv.chunk(3, dim=-1))[:, 0].transpose(1, 2)
            return self.proj(y.unflatten(2, frames.shape[-2:]))

        return x + per_frame(attention, x)


class Resample(nn.Module):
    """A 2-D convolution of every frame, and with `time` half ("down") or twice ("up") the frames.

    The clip's first frame stays as it is. "down": the convolution comes first; every two frames become one with the
    frame before them. "up": time comes first; a frame becomes two with the two frames before it, of which the first
    frame is none: the second sees zeros there.
    """

    def __init__(self, inputs: int, outputs: int, time: str = ""):
        super().__init__()
        self.resample = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.time = time
        if time == "down":
            self.time_conv = nn.Conv3d(outputs, outputs, (3, 1, 1), stride=(2, 1, 1))
        elif time == "up":
            self.time_conv = CausalConv3d(inputs, 2 * inputs, (3, 1, 1))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if self.time == "up" and not stream.first:
            x = rearrange(self.time_conv(x, stream), "b (two c) f h w -> b c (f two) h w", two=2)
        x = per_frame(self.resample, x)
        if self.time == "down":
            if stream.first:
                stream.remember(self, x)
            else:
                x = self.time_conv(stream.joined(self, x, 1))
        return x


def per_frame(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A layer of single images on every frame of (B, C, F, h, w)."""
    y = layer(rearrange(x, "b c f h w -> (b f) c h w"))
    return rearrange(y, "(b f) c h w -> b c f h w", b=len(x))


def run(layers: nn.Sequential | nn.ModuleList, x: Tensor, stream: Stream) -> Tensor:
    """The layers one after the other; those of this file take the stream."""
    for layer in layers:
        x = layer(x, stream) if isinstance(layer, STREAMED) else layer(x)
    return x


STREAMED = (CausalConv3d, ResidualBlock, FrameAttention, Resample)
