# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Latent spaces: what lies between images and the diffusion stages while these are trained."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gld_ros.networks.encoder import Level
from gld_ros.networks.gld import GLDNetworks


class LatentSpace(nn.Module, ABC):
    """A frozen pair of encoder and decoder. Latents are maps (B, V, C, h, w), normalised per channel."""

    channels: int
    #: Pixels of an image on one side of a latent's cell.
    patch: int

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, h, w) of the latent of an image of size (H, W)."""
        return self.channels, size[0] // self.patch, size[1] // self.patch

    @abstractmethod
    def encode(self, images: Tensor, levels: Sequence[int]) -> dict[int, Tensor]:
        """Float32 latents by level of views (B, V, 3, H, W) in 0..1, encoded together."""

    @abstractmethod
    def decode(self, latents: dict[int, Tensor], sources: Tensor) -> Tensor:
        """Images (B, V, 3, H, W), about 0..1, of latents; sources: images (B, S, 3, H, W) of the first views."""

    def measured(self, level: int) -> bool:
        """True if the level has the statistics that its latents are normalised by; spaces without need none."""
        return True

    def measure(self, batches: Iterator[Tensor], count: int, levels: Sequence[int]) -> None:
        """Set the statistics of `levels` from `count` batches of images. Spaces without statistics do nothing."""
        return None


class GeometricLatents(LatentSpace):
    """The four levels of the geometric encoder.

    It shares encoder and RGB decoder with `net`; the statistics are its own.
    """

    def __init__(self, net: GLDNetworks):
        super().__init__()
        self.net = copy.copy(net)
        self.net._modules = {name: getattr(net, name) for name in ("encoder", "rgb")}
        self.net._buffers = {name: buffer.clone() for name, buffer in net.named_buffers(recurse=False)}
        self.channels, self.patch = net.config.encoder.channels, net.config.encoder.patch
        for k in (2, 3):  # for stages that diffuse them; models keep none
            self.net.register_buffer(f"level{k}_mean", torch.zeros(self.channels))
            self.net.register_buffer(f"level{k}_var", torch.ones(self.channels))

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        C, h, w = super().shape(size)
        packed = self.net.config.level1.special_tokens
        return (C, packed + h * w, 1) if packed else (C, h, w)

    def encode(self, images: Tensor, levels: Sequence[int]) -> dict[int, Tensor]:
        raw = self.net.encoder(images, levels=max(levels) + 1)
        return {k: self.net.to_latent(raw[k], k).float() for k in levels}

    def decode(self, latents: dict[int, Tensor], sources: Tensor) -> Tensor:
        return self.net.rgb(*self.features(latents, sources)).float()

    def features(self, latents: dict[int, Tensor], sources: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Four levels (B, V, h * w, C) as the decoders read them, and the patch grid.

        Levels above the highest of `latents` follow from it by propagation, others that are not there are zero.
        """
        net, boundary = self.net, max(latents)
        grid = sources.shape[-2] // self.patch, sources.shape[-1] // self.patch
        views = latents[boundary].shape[1]
        camera = None
        if not net.config.level1.special_tokens:
            camera = net.encoder(sources[:, :1], levels=boundary + 1)[boundary].camera.expand(-1, views, -1)
        top = net.to_level(latents[boundary], grid, boundary, camera)
        levels: dict[int, Level] = {k: net.to_level(latent, grid, k) for k, latent in latents.items()}
        above = net.encoder.resume(top, boundary) if boundary + 1 < len(net.config.encoder.taps) else []
        levels |= dict(enumerate([top, *above], start=boundary))
        features = {k: net.encoder.to_decoder(level) for k, level in levels.items()}
        missing = torch.zeros_like(features[boundary])
        return [features.get(k, missing) for k in range(4)], grid

    def statistics(self) -> dict[str, Tensor]:
        """Means and variances by the names that `GLDNetworks` has for them."""
        return dict(self.net.named_buffers(recurse=False))

    def measured(self, level: int) -> bool:
        return bool(getattr(self.net, f"level{level}_mean").any())

    @torch.no_grad()
    def measure(self, batches: Iterator[Tensor], count: int, levels: Sequence[int]) -> None:
        net = self.net
        patches = {k: RunningStatistics() for k in levels}
        special = {k: RunningStatistics() for k in levels if net.config.level1.special_tokens}
        for _ in range(count):
            raw = net.encoder(next(batches), levels=max(levels) + 1)
            for k in levels:
                patches[k].add(raw[k].patch_tokens)
                if k in special:
                    special[k].add(raw[k].special)
        for kind, found in (("level", patches), ("special", special)):
            for k, statistics in found.items():
                getattr(net, f"{kind}{k}_mean").copy_(statistics.mean)
                getattr(net, f"{kind}{k}_var").copy_(statistics.variance)


class RunningStatistics:
    """Exact mean and variance of each channel over everything that was added, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor = torch.zeros(())
        self._squares: Tensor = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """values: (..., C)."""
        rows = values.flatten(0, -2).double()
        mean = rows.mean(dim=0)
        squares = (rows - mean).pow(2).sum(dim=0)
        if self.count:
            # Joining two groups (Chan et al.): no difference of large numbers.
            both, shift = self.count + len(rows), mean - self.mean
            squares = self._squares + squares + shift.pow(2) * (self.count * len(rows) / both)
            mean = self.mean + shift * (len(rows) / both)
        self.count += len(rows)
        self.mean, self._squares = mean, squares

    @property
    def variance(self) -> Tensor:
        """With the divisor n - 1."""
        return self._squares / max(self.count - 1, 1)
