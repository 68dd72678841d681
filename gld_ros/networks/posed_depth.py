# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth of posed source views by a learned plane sweep: what gives the latent model a metric scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.geometry.rays import directions, invert_rigid
from gld_ros.geometry.warp import forward_warp
from gld_ros.networks.configs import MatchingConfig
from gld_ros.networks.layers import conv, grow, zeroed

#: Log error that no view gets below, and expected errors within which two depths are taken for the same surface.
FLOOR, GATE = 0.02, 2.0


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

    Twice: at half resolution over all depths, then at full resolution about what was found, as far around as its
    expected error reaches (as cascaded cost volumes do). Planes are ratios q = baseline / depth, so that the network
    is blind to the unit of length: scaling the world scales the output and nothing else.
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
        self.deeper = conv(c, c)
        self.up1 = conv(c + b, b)
        self.up2 = conv(b + a, a)
        self.planes = nn.Conv2d(a, config.planes, 3, padding=1)
        #: The costs vote for their planes directly as well: matching is learned from the first step.
        self.vote = nn.Parameter(torch.tensor(10.0))
        self.first = zeroed(nn.Conv2d(a, 2, 3, padding=1))
        self.fine = FineSweep(32, a, config)

    def forward(
        self,
        images: Tensor,
        K: Tensor,
        c2w: Tensor,
        tokens: Tensor,
        grid: tuple[int, int],
        usable: Tensor | None = None,
    ) -> SourceDepth:
        """images: (B, V, 3, H, W) 0..1, V >= 2; K: (B, V, 3, 3), pixels; c2w: (B, V, 4, 4); tokens: (B, V, h * w, C)
        of the encoder; usable: (B, V, H, W) bool, other pixels match nothing and their depth is NaN."""
        second = self.both(images, K, c2w, tokens, grid, usable)[1]
        depth = second.depth if usable is None else torch.where(usable, second.depth, torch.nan)
        return SourceDepth(agreed_depth(depth, second.spread, K, c2w), second.spread)

    def both(
        self,
        images: Tensor,
        K: Tensor,
        c2w: Tensor,
        tokens: Tensor,
        grid: tuple[int, int],
        usable: Tensor | None = None,
    ) -> tuple[SourceDepth, SourceDepth]:
        """Depth after the first and after the second sweep, of each view by itself; arguments as of `forward`."""
        B, V, _, H, W = images.shape
        flat = images.flatten(0, 1)
        x = self.stem(flat * 2 - 1)
        features = self.feature(torch.cat([x, grow(self.coarse(x), x)], dim=1))
        with torch.autocast(images.device.type, enabled=False):
            baseline = mean_baseline(c2w)
            roots = self._roots(images.device)
            depths = (baseline[..., None] / roots**2)[..., None, None]  # (B, V, D, 1, 1)
            cost = plane_costs(comparable(features, (B, V), usable), K, c2w, depths, (H, W))
        x0 = self.enter(torch.cat([cost.flatten(0, 1).to(x.dtype), features, x], dim=1))
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        prior = grow(self.tokens(tokens.flatten(0, 1)).transpose(1, 2).unflatten(2, grid), x2)
        x2 = self.bottom(x2 + prior)
        x2 = x2 + self.deeper(x2)
        x1 = self.up1(torch.cat([grow(x2, x1), x1], dim=1))
        x0 = self.up2(torch.cat([grow(x1, x0), x0], dim=1))
        score = self.planes(x0).float() + self.vote * cost.flatten(0, 1)
        ratio = (score.softmax(dim=1) * roots[:, None, None]).sum(dim=1, keepdim=True)
        correction, spread = self.first(x0).float().chunk(2, dim=1)
        found = grow(torch.cat([correction - 2 * ratio.log(), spread], dim=1), flat).unflatten(0, (B, V))
        first = SourceDepth(found[:, :, 0].exp() * baseline[..., None, None], spread_of(found[:, :, 1]))
        return first, self.fine(flat, x, x0, first, baseline, K, c2w, usable)

    def _roots(self, device: torch.device) -> Tensor:
        c = self.config
        return torch.linspace(math.sqrt(c.farthest), math.sqrt(c.nearest), c.planes, device=device)


class FineSweep(nn.Module):
    """The second sweep, at full resolution: planes within a few expected errors of a first depth."""

    def __init__(self, stem: int, context: int, config: MatchingConfig):
        super().__init__()
        f, planes, (a, b) = config.fine_features, config.fine_planes, config.fine_widths
        self.pixels = conv(3, 16)
        self.feature = nn.Conv2d(16, f, 3, padding=1)
        self.wide = nn.Conv2d(stem, f, 1)
        self.context = nn.Conv2d(context, 24, 1)
        self.enter = conv(planes + f + 24 + 3 + 2, a)
        self.down = nn.Sequential(conv(a, b, 2), conv(b, b))
        self.up = conv(b + a, a)
        self.leave = zeroed(nn.Conv2d(a, planes + 2, 3, padding=1))
        self.vote = nn.Parameter(torch.tensor(4.0))
        self.count = planes

    def forward(
        self,
        images: Tensor,
        stem: Tensor,
        context: Tensor,
        first: SourceDepth,
        baseline: Tensor,
        K: Tensor,
        c2w: Tensor,
        usable: Tensor | None = None,
    ) -> SourceDepth:
        """images: (B * V, 3, H, W); stem, context: (B * V, C, h, w) of the first sweep; baseline: (B, V)."""
        B, V, H, W = first.depth.shape
        depth, spread = first.depth.detach().flatten(0, 1)[:, None], first.spread.detach().flatten(0, 1)[:, None]
        features = self.feature(self.pixels(images * 2 - 1)) + grow(self.wide(stem), images)
        offsets = torch.linspace(-2.5, 2.5, self.count, device=images.device)  # of expected errors
        steps = offsets[:, None, None] * spread  # (B * V, D, H, W) of log depth
        with torch.autocast(images.device.type, enabled=False):
            unit = comparable(features, (B, V), usable)
            cost = plane_costs(unit, K, c2w, (depth * steps.exp()).unflatten(0, (B, V)), (H, W)).flatten(0, 1)
        log_ratio = (baseline.flatten()[:, None, None, None] / depth).log()
        known = torch.cat([log_ratio, spread.log() + 3], dim=1)
        parts = [part.to(features) for part in (cost, grow(self.context(context), images), images, known)]
        x0 = self.enter(torch.cat([features, *parts], dim=1))
        x1 = self.down(x0)
        found = self.leave(self.up(torch.cat([grow(x1, x0), x0], dim=1))).float()
        score = (found[:, :-2] + self.vote * cost).softmax(dim=1)
        log_depth = depth.log() + (score * steps).sum(dim=1, keepdim=True) + 0.1 * found[:, -2:-1]
        return SourceDepth(log_depth.exp().reshape(B, V, H, W), spread_of(found[:, -1].reshape(B, V, H, W)))


def spread_of(raw: Tensor) -> Tensor:
    """Expected absolute error of log depth from what a network says."""
    return (raw - 2.5).clamp(-6, 2).exp()


def comparable(features: Tensor, views: tuple[int, int], usable: Tensor | None) -> Tensor:
    """Features (B * V, C, h, w) at unit length, (B, V, C, h, w); zeros, which match nothing, where they are not
    `usable` (B, V, H, W)."""
    unit = F.normalize(features.float(), dim=1).unflatten(0, views)
    if usable is None:
        return unit
    return unit * (F.interpolate(usable.float(), size=unit.shape[-2:], mode="area") > 0.999)[:, :, None]


def plane_costs(features: Tensor, K: Tensor, c2w: Tensor, depths: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean cosine (B, V, D, h, w) of each view with the others that see the point, its pixels at these depths.

    0 where no other view has the point in its picture.
    features: (B, V, C, h, w) of unit length; K: pixels of images of `size` (H, W); depths: (B, V, D, h or 1, w or 1).
    """
    B, V, C, h, w = features.shape
    H, W = size
    K = K.float() * K.new_tensor([w / W, h / H, 1.0])[:, None]
    rays = directions(K, h, w)
    depths = depths.expand(-1, -1, -1, h, w).flatten(-2)  # (B, V, D, hw)
    total = torch.zeros(B, V, depths.shape[2], h, w, device=features.device)
    count = torch.zeros_like(total)
    for shift in range(1, V):
        other = [(v + shift) % V for v in range(V)]
        motion = invert_rigid(c2w[:, other].float()) @ c2w.float()
        turned = K[:, other] @ motion[..., :3, :3] @ rays  # (B, V, 3, hw)
        moved = (K[:, other] @ motion[..., :3, 3:])[..., None]
        point = turned[:, :, :, None] * depths[:, :, None] + moved  # (B, V, 3, D, hw)
        z = point[:, :, 2]
        uv = point[:, :, :2] / z.clamp_min(1e-6)[:, :, None]
        uv = torch.stack([uv[:, :, 0] * (2 / w) - 1, uv[:, :, 1] * (2 / h) - 1], dim=-1)  # (B, V, D, hw, 2)
        uv = torch.where((z > 1e-6)[..., None], uv, torch.full_like(uv, -2))
        inside = (uv.abs().amax(dim=-1) < 1).unflatten(-1, (h, w))
        uv = uv.reshape(B * V, -1, w, 2)
        seen = F.grid_sample(features[:, other].flatten(0, 1), uv, align_corners=False)
        cosine = torch.einsum("bvchw,bvcdhw->bvdhw", features, seen.reshape(B, V, C, -1, h, w))
        total, count = total + inside * cosine, count + inside
    return total / count.clamp_min(1)


def mean_baseline(c2w: Tensor) -> Tensor:
    """Mean distance (B, V) of each camera to the others."""
    centre = c2w[..., :3, 3]
    distance = (centre[:, :, None] - centre[:, None]).norm(dim=-1)
    return (distance.sum(dim=-1) / max(centre.shape[1] - 1, 1)).clamp_min(1e-9)


def agreed_depth(depth: Tensor, spread: Tensor, K: Tensor, c2w: Tensor) -> Tensor:
    """Depth (B, V, H, W) as the mean over all views that show the surface, weighted by their expected errors.

    Every other view's depth is carried into the view; where it differs by more than both may be wrong, one of them sees
    another surface, and it does not count. The views' mistakes differ, so the mean is nearer to the truth.

    depth: (B, V, H, W) in the unit of the poses; spread: (B, V, H, W) expected error of its logarithm; K: (B, V, 3, 3)
    pixels; c2w: (B, V, 4, 4).
    """
    B, V, H, W = depth.shape
    to = [v for v in range(V) for _ in range(V - 1)]
    by = [other for v in range(V) for other in range(V) if other != v]
    errors, depths, source_K, source_c2w = (x[:, by].flatten(0, 1)[:, None] for x in (spread, depth, K, c2w))
    target_K, target_c2w = K[:, to].flatten(0, 1), c2w[:, to].flatten(0, 1)
    warp = forward_warp(errors[:, :, None], depths, source_K, source_c2w, target_K, target_c2w, (H, W))
    pairs = B, V, V - 1
    theirs = warp.depth.clamp_min(1e-9).log().unflatten(0, pairs)
    variance = (warp.values[:, 0].square() + FLOOR**2).unflatten(0, pairs)
    own, own_variance = depth.log()[:, :, None], (spread.square() + FLOOR**2)[:, :, None]
    same = (theirs - own).abs() < GATE * (variance + own_variance).sqrt()
    weight = (same & warp.seen.unflatten(0, pairs)) / variance
    total = own / own_variance + (weight * torch.where(weight > 0, theirs, 0.0)).sum(dim=2, keepdim=True)
    return (total / (1 / own_variance + weight.sum(dim=2, keepdim=True))).exp()[:, :, 0]
