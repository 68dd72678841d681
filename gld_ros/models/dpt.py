"""DualDPT: depth and ray maps from the four levels (spec models.md A6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.models.configs import DPTConfig
from gld_ros.models.layers import sincos


@dataclass
class Geometry:
    """What the head says of each view, in model units (the scene's size normalised away).

    depth, depth_confidence: (B, V, H, W). rays: (B, V, h', w', 6) direction R K^-1 [u, v, 1] and camera centre.
    ray_confidence: (B, V, h', w'). Confidences are 1 + exp(.).
    """

    depth: Tensor
    depth_confidence: Tensor
    rays: Tensor
    ray_confidence: Tensor


class ResidualConvUnit(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FusionBlock(nn.Module):
    """Adds the lateral features to the coarser ones, refines, resizes."""

    def __init__(self, features: int, lateral: bool):
        super().__init__()
        if lateral:
            self.resConfUnit1 = ResidualConvUnit(features)
        self.resConfUnit2 = ResidualConvUnit(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, top: Tensor, lateral: Tensor | None, size: tuple[int, int]) -> Tensor:
        if lateral is not None:
            top = top + self.resConfUnit1(lateral)
        top = self.resConfUnit2(top)
        return self.out_conv(F.interpolate(top, size=size, mode="bilinear", align_corners=True))


class Scratch(nn.Module):
    """The convolutions after the projections, under the names of the published checkpoint."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        features, half = config.features, config.features // 2
        for k, channels in enumerate(config.out_channels):
            setattr(self, f"layer{k + 1}_rn", nn.Conv2d(channels, features, 3, padding=1, bias=False))
        for k in range(4):
            setattr(self, f"refinenet{k + 1}", FusionBlock(features, lateral=k < 3))
            setattr(self, f"refinenet{k + 1}_aux", FusionBlock(features, lateral=k < 3))
        self.output_conv1 = nn.Conv2d(features, half, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(half, config.hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(config.hidden, 2, 1)
        )
        # Width alternates F/2, F, F/2 ... without activations between, as in DA3.
        widths = [features, *([half, features] * 3)[: config.aux_convs]]
        self.output_conv1_aux = nn.ModuleList(
            nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:], strict=False)))
            for _ in range(4 if config.aux_convs > 1 else 1)
        )
        self.output_conv2_aux = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(half, config.hidden, 3, padding=1),
                nn.Identity(),
                ChannelNorm(config.hidden, eps=1e-5),
                nn.Identity(),
                nn.ReLU(),
                nn.Conv2d(config.hidden, 7, 1),
            )
            for _ in range(4 if config.aux_convs > 1 else 1)
        )


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DualDPT(nn.Module):
    """Dense prediction head with two chains: depth + confidence, rays + confidence."""

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

    def forward(self, levels: list[Tensor], grid: tuple[int, int], size: tuple[int, int]) -> Geometry:
        """levels: four (B, V, h * w, 2C) in decoder space; size: (H, W) of the depth map."""
        B, V = levels[0].shape[:2]
        aspect = size[1] / size[0]
        laterals = []
        for k, tokens in enumerate(levels):
            x = self.norm(tokens.flatten(0, 1)).transpose(1, 2).unflatten(2, grid)
            x = self.resize_layers[k](add_uv(self.projects[k](x), aspect))
            laterals.append(getattr(self.scratch, f"layer{k + 1}_rn")(x))
        main = self.scratch.output_conv1(self._fuse(laterals, ""))
        main = F.interpolate(main, size=size, mode="bilinear", align_corners=True)
        main = self.scratch.output_conv2(add_uv(main, aspect)).float()
        rays = self.scratch.output_conv1_aux[-1](self._fuse(laterals, "_aux"))
        rays = self.scratch.output_conv2_aux[-1](add_uv(rays, aspect)).float()
        rays = rays.permute(0, 2, 3, 1).unflatten(0, (B, V))
        return Geometry(
            depth=main[:, 0].exp().unflatten(0, (B, V)),
            depth_confidence=1 + main[:, 1].exp().unflatten(0, (B, V)),
            rays=rays[..., :6],
            ray_confidence=1 + rays[..., 6].exp(),
        )

    def _fuse(self, laterals: list[Tensor], chain: str) -> Tensor:
        x = laterals[3]
        for k in (3, 2, 1, 0):
            block = getattr(self.scratch, f"refinenet{k + 1}{chain}")
            finer = laterals[k - 1].shape[-2:] if k else tuple(2 * n for n in laterals[0].shape[-2:])
            x = block(x, laterals[k] if k < 3 else None, finer)
        return x


def add_uv(x: Tensor, aspect: float) -> Tensor:
    """x (B, C, H, W) plus 0.1 times a sin-cos embedding of the image plane scaled to unit diagonal."""
    _, C, H, W = x.shape
    diagonal = (aspect**2 + 1) ** 0.5
    spans = (aspect / diagonal, 1 / diagonal)
    axes = [
        torch.linspace(-span * (n - 1) / n, span * (n - 1) / n, n, device=x.device)
        for span, n in zip(spans, (W, H), strict=True)
    ]
    columns = sincos(axes[0], C // 2, 100.0).T[:, None, :].expand(-1, H, W)
    rows = sincos(axes[1], C // 2, 100.0).T[:, :, None].expand(-1, H, W)
    return x + 0.1 * torch.cat([columns, rows]).to(x.dtype)
