# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The dense head on the four levels: depth and rays (spec models.md A6 and C)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.networks.configs import DPTConfig
from gld_ros.networks.layers import sincos


@dataclass
class Geometry:
    """The head's output for each view, in model units (the scene's size normalised away).

    depth, depth_confidence: (B, V, H, W). rays: (B, V, h', w', 6) direction R K^-1 [u, v, 1] and camera centre.
    ray_confidence: (B, V, h', w'). Confidences are 1 + exp(.). Heads without a ray chain (VGGT) leave both None.
    """

    depth: Tensor
    depth_confidence: Tensor
    rays: Tensor | None = None
    ray_confidence: Tensor | None = None


class ResidualConvUnit(nn.Module):
    def __init__(self, features: int, relu_skip: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.relu_skip = relu_skip

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(x)
        skip = active if self.relu_skip else x
        return skip + self.conv2(F.relu(self.conv1(active)))


class FusionBlock(nn.Module):
    """Adds the lateral features to the coarser ones, refines, resizes."""

    def __init__(self, features: int, lateral: bool, relu_skip: bool):
        super().__init__()
        if lateral:
            self.resConfUnit1 = ResidualConvUnit(features, relu_skip)
        self.resConfUnit2 = ResidualConvUnit(features, relu_skip)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, top: Tensor, lateral: Tensor | None, size: tuple[int, int]) -> Tensor:
        if lateral is not None:
            top = top + self.resConfUnit1(lateral)
        top = self.resConfUnit2(top)
        return self.out_conv(F.interpolate(top, size=size, mode="bilinear", align_corners=True))


class Scratch(nn.Module):
    """The convolutions after the projections, under the names of the published checkpoints."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        features, half = config.features, config.features // 2
        for k, channels in enumerate(config.out_channels):
            setattr(self, f"layer{k + 1}_rn", nn.Conv2d(channels, features, 3, padding=1, bias=False))
        for chain in ("", "_aux") if config.aux_convs else ("",):
            for k in range(4):
                setattr(self, f"refinenet{k + 1}{chain}", FusionBlock(features, k < 3, config.relu_skip))
        self.output_conv1 = nn.Conv2d(features, half, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(half, config.hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(config.hidden, 2, 1)
        )
        if config.aux_convs:
            # Width alternates F/2, F, F/2 ... without activations between, and one neck a scale, as in DA3.
            widths = [features, *([half, features] * 3)[: config.aux_convs]]
            scales = 4 if config.aux_convs > 1 else 1
            norm = ChannelNorm(config.hidden, eps=1e-5)  # one for all scales, though published under each one's name
            self.output_conv1_aux = nn.ModuleList(
                nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:], strict=False)))
                for _ in range(scales)
            )
            self.output_conv2_aux = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(half, config.hidden, 3, padding=1),
                    nn.Identity(),
                    norm,
                    nn.Identity(),
                    nn.ReLU(),
                    nn.Conv2d(config.hidden, 7, 1),
                )
                for _ in range(scales)
            )


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DualDPT(nn.Module):
    """Depth + confidence, and with a second chain (`aux_convs`) rays + confidence.

    The four levels are projected and resized, fused from coarse to fine, and maps are read off.
    """

    def __init__(self, channels: int, config: DPTConfig):
        super().__init__()
        self.config = config
        oc = config.out_channels
        self.norm = nn.LayerNorm(channels, eps=1e-5)
        self.projects = nn.ModuleList(nn.Conv2d(channels, c, 1) for c in oc)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(oc[0], oc[0], 4, 4),
                nn.ConvTranspose2d(oc[1], oc[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(oc[3], oc[3], 3, 2, 1),
            ]
        )
        self.scratch = Scratch(config)

    def laterals(self, levels: list[Tensor], grid: tuple[int, int], aspect: float) -> list[Tensor]:
        """Feature maps (B V, F, ., .) of the levels at 4, 2, 1 and 1/2 times the patch grid."""
        maps = []
        for k, tokens in enumerate(levels):
            x = self.norm(tokens.flatten(0, 1)).transpose(1, 2).unflatten(2, grid)
            x = self.resize_layers[k](add_uv(self.projects[k](x), aspect))
            maps.append(getattr(self.scratch, f"layer{k + 1}_rn")(x))
        return maps

    def fuse(self, laterals: list[Tensor], chain: str = "") -> Tensor:
        """(B V, F, 8 h, 8 w) of the main chain or of the chain called `chain`."""
        x = laterals[3]
        for k in (3, 2, 1, 0):
            block = getattr(self.scratch, f"refinenet{k + 1}{chain}")
            finer = laterals[k - 1].shape[-2:] if k else tuple(2 * n for n in laterals[0].shape[-2:])
            x = block(x, laterals[k] if k < 3 else None, finer)
        return x

    def maps(self, laterals: list[Tensor], size: tuple[int, int]) -> Tensor:
        """The main chain's outputs (B V, channels, H, W), float32, before their activations."""
        x = self.scratch.output_conv1(self.fuse(laterals))
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=True)
        return self.scratch.output_conv2(add_uv(x, size[1] / size[0])).float()

    def forward(self, levels: list[Tensor], grid: tuple[int, int], size: tuple[int, int]) -> Geometry:
        """levels: four (B, V, h * w, 2C) in decoder space, no special tokens; size: (H, W) of the depth map."""
        views = levels[0].shape[:2]
        aspect = size[1] / size[0]
        laterals = self.laterals(levels, grid, aspect)
        depth, confidence = self.maps(laterals, size).exp().unflatten(0, views).unbind(2)
        geometry = Geometry(depth, 1 + confidence)
        if self.config.aux_convs:
            x = self.scratch.output_conv1_aux[-1](self.fuse(laterals, "_aux"))
            x = self.scratch.output_conv2_aux[-1](add_uv(x, aspect)).float()
            x = x.permute(0, 2, 3, 1).unflatten(0, views)
            geometry.rays, geometry.ray_confidence = x[..., :6], 1 + x[..., 6].exp()
        return geometry


class PointDPT(DualDPT):
    """VGGT's `point_head`: points in the first camera's frame + confidence."""

    def __init__(self, channels: int, config: DPTConfig):
        super().__init__(channels, config)
        self.scratch.output_conv2[2] = nn.Conv2d(config.hidden, 4, 1)

    def forward(  # type: ignore[override]  # points in the place of depth and rays
        self, levels: list[Tensor], grid: tuple[int, int], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Points (B, V, H, W, 3) in model units and their confidence (B, V, H, W) of the levels as in `DualDPT`."""
        x = self.maps(self.laterals(levels, grid, size[1] / size[0]), size).unflatten(0, levels[0].shape[:2])
        points = x[:, :, :3].permute(0, 1, 3, 4, 2)
        return points.sign() * points.abs().expm1(), 1 + x[:, :, 3].exp()


def add_uv(x: Tensor, aspect: float) -> Tensor:
    """x (B, C, H, W) plus the embedding of where each cell lies in an image of that aspect (width / height)."""
    _, C, H, W = x.shape
    return x + uv_embedding(C, (H, W), aspect, x.device).to(x.dtype)


def uv_embedding(channels: int, size: tuple[int, int], aspect: float, device: torch.device | str = "cpu") -> Tensor:
    """0.1 times a sin-cos embedding (C, H, W) of the image plane scaled to unit diagonal; columns first, then rows."""
    H, W = size
    diagonal = (aspect**2 + 1) ** 0.5
    spans = (aspect / diagonal, 1 / diagonal)
    axes = [
        torch.linspace(-span * (n - 1) / n, span * (n - 1) / n, n, device=device)
        for span, n in zip(spans, (W, H), strict=True)
    ]
    columns = sincos(axes[0], channels // 2, 100.0).T[:, None, :].expand(-1, H, W)
    rows = sincos(axes[1], channels // 2, 100.0).T[:, :, None].expand(-1, H, W)
    return 0.1 * torch.cat([columns, rows])
