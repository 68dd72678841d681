"""Depth of posed source views by a learned plane sweep: what gives the latent model a metric scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.geometry.rays import directions, invert_rigid
from gld_ros.models.configs import MatchingConfig
from gld_ros.models.layers import conv, grow, zeroed


@dataclass
class SourceDepth:
    """depth: (B, V, H, W) in the poses' unit. spread: (B, V, H, W) expected absolute error of log depth."""

    depth: Tensor
    spread: Tensor

    def confidence(self, tolerance: float = 0.1) -> Tensor:
        """Probability (B, V, H, W) that the depth is right within `tolerance`, for a Laplace error."""
        return 1 - torch.exp(-math.log1p(tolerance) / self.spread)


class PosedDepth(nn.Module):
    """Features of every view are compared at depth planes along the reference's rays; a small U-Net reads the costs.

    Planes are ratios q = baseline / depth, so that the network is blind to the unit of length: scaling the world
    scales the output and nothing else.
    """

    def __init__(self, token_channels: int, config: MatchingConfig):
        super().__init__()
        self.config = config
        f, (a, b, c) = config.features, config.widths
        self.stem = nn.Sequential(conv(3, 24, 2), conv(24, 32))
        self.coarse = nn.Sequential(conv(32, 48, 2), conv(48, 48))
        self.feature = nn.Conv2d(32 + 48, f, 3, padding=1)
        self.enter = conv(config.planes + f + 32, a)
        self.down1 = nn.Sequential(conv(a, b, 2), conv(b, b))
        self.down2 = conv(b, c, 2)
        self.tokens = nn.Sequential(nn.LayerNorm(token_channels), nn.Linear(token_channels, c))
        self.bottom = conv(c, c)
        self.up1 = conv(c + b, b)
        self.up2 = conv(b + a, a)
        self.planes = nn.Conv2d(a, config.planes, 3, padding=1)
        #: The costs vote for their planes directly as well: matching is learned from the first step.
        self.vote = nn.Parameter(torch.tensor(10.0))
        self.sharpen = nn.Sequential(conv(a + 4, 24), zeroed(nn.Conv2d(24, 2, 3, padding=1)))

    def forward(self, images: Tensor, K: Tensor, c2w: Tensor, tokens: Tensor, grid: tuple[int, int]) -> SourceDepth:
        """images: (B, V, 3, H, W) 0..1, V >= 2; K: pixels; c2w: (B, V, 4, 4); tokens: (B, V, h * w, C), encoder."""
        B, V, _, H, W = images.shape
        x = self.stem(images.flatten(0, 1) * 2 - 1)
        wide = F.interpolate(self.coarse(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
        features = self.feature(torch.cat([x, wide], dim=1))
        with torch.autocast(images.device.type, enabled=False):
            baseline = mean_baseline(c2w)
            unit = F.normalize(features.float(), dim=1).unflatten(0, (B, V))
            cost = self._cost(unit, K, c2w, baseline, (H, W))
        x0 = self.enter(torch.cat([cost.flatten(0, 1).to(x.dtype), features, x], dim=1))
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        prior = self.tokens(tokens.flatten(0, 1)).transpose(1, 2).unflatten(2, grid)
        x2 = self.bottom(x2 + F.interpolate(prior, size=x2.shape[-2:], mode="bilinear", align_corners=False))
        x1 = self.up1(torch.cat([grow(x2, x1), x1], dim=1))
        x0 = self.up2(torch.cat([grow(x1, x0), x0], dim=1))
        roots = self._roots(images.device)
        score = self.planes(x0).float() + self.vote * cost.flatten(0, 1)
        ratio = (score.softmax(dim=1) * roots[:, None, None]).sum(dim=1, keepdim=True)
        log_ratio = 2 * F.interpolate(ratio, size=(H, W), mode="bilinear", align_corners=False).log()
        fine = F.interpolate(x0, size=(H, W), mode="bilinear", align_corners=False)
        fine = self.sharpen(torch.cat([fine, images.flatten(0, 1).to(fine), log_ratio.to(fine)], dim=1)).float()
        log_depth = fine[:, :1] - log_ratio
        depth = log_depth.exp().reshape(B, V, H, W) * baseline[..., None, None]
        return SourceDepth(depth, (fine[:, 1].reshape(B, V, H, W) - 2.5).clamp(-6, 2).exp())

    def _roots(self, device: torch.device) -> Tensor:
        c = self.config
        return torch.linspace(math.sqrt(c.farthest), math.sqrt(c.nearest), c.planes, device=device)

    def _cost(self, features: Tensor, K: Tensor, c2w: Tensor, baseline: Tensor, size: tuple[int, int]) -> Tensor:
        """Mean cosine (B, V, D, h, w) of each view with the others at the planes."""
        B, V, C, h, w = features.shape
        H, W = size
        K = K.float() * K.new_tensor([w / W, h / H, 1.0])[:, None]
        rays = directions(K, h, w)
        depths = baseline[..., None] / self._roots(features.device) ** 2  # (B, V, D)
        total = torch.zeros(B, V, depths.shape[-1], h, w, device=features.device)
        for shift in range(1, V):
            other = [(v + shift) % V for v in range(V)]
            motion = invert_rigid(c2w[:, other].float()) @ c2w.float()
            turned = K[:, other] @ motion[..., :3, :3] @ rays  # (B, V, 3, hw)
            moved = (K[:, other] @ motion[..., :3, 3:])[..., 0]
            point = turned[:, :, None] * depths[..., None, None] + moved[:, :, None, :, None]  # (B, V, D, 3, hw)
            z = point[..., 2, :]
            uv = point[..., :2, :] / z.clamp_min(1e-6)[..., None, :]
            uv = torch.stack([uv[..., 0, :] * (2 / w) - 1, uv[..., 1, :] * (2 / h) - 1], dim=-1)
            uv = torch.where((z > 1e-6)[..., None], uv, torch.full_like(uv, -2)).reshape(B * V, -1, w, 2)
            seen = F.grid_sample(features[:, other].flatten(0, 1), uv, align_corners=False)
            seen = seen.reshape(B, V, C, -1, h, w)
            total = total + torch.einsum("bvchw,bvcdhw->bvdhw", features, seen)
        return total / (V - 1)


def mean_baseline(c2w: Tensor) -> Tensor:
    """Mean distance (B, V) of each camera to the others."""
    centre = c2w[..., :3, 3]
    distance = (centre[:, :, None] - centre[:, None]).norm(dim=-1)
    return (distance.sum(dim=-1) / max(centre.shape[1] - 1, 1)).clamp_min(1e-9)
