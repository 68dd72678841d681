# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Source views carried into a target camera by their depth: splatting, hole filling, edge-aware upsampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.geometry.rays import directions, exact, invert_rigid


@dataclass
class Warp:
    """values: (B, C, H, W), 0 where unseen; depth: (B, H, W) along the target's z, 0 where unseen; seen: (B, H, W).

    disagreement: (B, H, W) deviation of what several sources show, of a warp that was read back; else None.
    """

    values: Tensor
    depth: Tensor
    seen: Tensor
    disagreement: Tensor | None = None


@exact
def forward_warp(
    values: Tensor,
    depth: Tensor,
    K: Tensor,
    c2w: Tensor,
    target_K: Tensor,
    target_c2w: Tensor,
    size: tuple[int, int],
    weight: Tensor | None = None,
) -> Warp:
    """Splat all pixels of V source views into one target camera a scene, nearest surface wins.

    values: (B, V, C, h, w); depth: (B, V, h, w), pixels without a finite depth above 0 are left out; K: (B, V, 3, 3);
    c2w: (B, V, 4, 4); target_K: (B, 3, 3); target_c2w: (B, 4, 4); size: (H, W) of the target; weight: (B, V, h, w).
    """
    B, V, C, h, w = values.shape
    H, W = size
    motion = invert_rigid(target_c2w)[:, None] @ c2w
    rays = motion[..., :3, :3] @ directions(K, h, w)  # (B, V, 3, hw)
    point = rays * depth.reshape(B, V, 1, -1) + motion[..., :3, 3:]
    z = point[..., 2, :]
    u = target_K[:, None, None, 0, 0] * point[..., 0, :] / z + target_K[:, None, None, 0, 2] - 0.5
    v = target_K[:, None, None, 1, 1] * point[..., 1, :] / z + target_K[:, None, None, 1, 2] - 0.5
    flow_weight = solid(depth) * view_weight(c2w, target_c2w)[..., None, None]
    if weight is not None:
        flow_weight = flow_weight * weight
    usable = (z > 1e-6) & (u > -1) & (u < W) & (v > -1) & (v < H) & (flow_weight.flatten(2) > 0)
    u, v, z, pixel_weight = (x.reshape(B, -1) for x in (u, v, z, flow_weight.flatten(2)))
    usable = usable.reshape(B, -1)
    u, v, z = (torch.where(usable, x, torch.ones_like(x)) for x in (u, v, z))
    colours = torch.cat([values.transpose(1, 2).flatten(2), z[:, None]], dim=1)  # (B, C + 1, P)

    x0, y0 = u.floor().long(), v.floor().long()
    corners = []
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = x0 + dx, y0 + dy
            share = (1 - (u - x).abs()) * (1 - (v - y).abs())
            inside = usable & (x >= 0) & (x < W) & (y >= 0) & (y < H) & (share > 0.02)
            corners.append((torch.where(inside, y * W + x, H * W), torch.where(inside, share, 0.0)))
    nearest = torch.full((B, H * W + 1), float("inf"), device=values.device)
    for index, _ in corners:
        nearest.scatter_reduce_(1, index, z, "amin")
    total = torch.zeros(B, H * W + 1, device=values.device)
    summed = torch.zeros(B, C + 1, H * W + 1, device=values.device)
    for index, share in corners:
        behind = z / nearest.gather(1, index) - 1
        # Clamped where the result is not used: exp is 10x slower on a CPU where it gives denormal numbers.
        part = share * pixel_weight * torch.exp(-((behind / 0.06) ** 2).clamp_max(4)) * (behind < 0.1)
        total.scatter_add_(1, index, part)
        summed.scatter_add_(2, index[:, None].expand(-1, C + 1, -1), colours * part[:, None])
    total = total[:, :-1]
    mean = (summed[..., :-1] / total.clamp_min(1e-9)[:, None]).reshape(B, C + 1, H, W)
    # What a camera much farther than the others shows alone is left out: on real pictures its depth is off too often.
    seen = (total > 0.02).reshape(B, H, W)
    mean, seen = close_cracks(mean * seen[:, None], seen)
    return Warp(mean[:, :C], mean[:, C], seen)


@exact
def resample(
    warp: Warp, values: Tensor, depth: Tensor, K: Tensor, c2w: Tensor, target_K: Tensor, target_c2w: Tensor
) -> Warp:
    """A warp with its values read back from the sources along its depth: sharper than splatting, which blurs twice.

    Sources whose own depth agrees best count most. Where none comes near (within half the depth), the splatted values
    stay. Shapes as in `forward_warp`.
    """
    B, V, C, h, w = values.shape
    H, W = warp.depth.shape[-2:]
    motion = invert_rigid(c2w) @ target_c2w[:, None]
    surface = directions(target_K, H, W) * warp.depth.flatten(1)[:, None]
    point = motion[..., :3, :3] @ surface[:, None] + motion[..., :3, 3:]  # (B, V, 3, HW)
    z = point[..., 2, :]
    u = (K[..., 0, 0, None] * point[..., 0, :] / z + K[..., 0, 2, None]) * (2 / w) - 1
    v = (K[..., 1, 1, None] * point[..., 1, :] / z + K[..., 1, 2, None]) * (2 / h) - 1
    inside = (z > 1e-6) & (u.abs() < 1) & (v.abs() < 1)
    grid = torch.where(inside[..., None], torch.stack([u, v], dim=-1), 2.0).reshape(B * V, H, W, 2)
    inverse = torch.where(depth > 0, depth, torch.inf).reciprocal()  # unknown depth: at infinity, never confirmed
    stacked = torch.cat([values, inverse[:, :, None]], dim=2).flatten(0, 1)
    read = F.grid_sample(stacked, grid, align_corners=False, padding_mode="border").reshape(B, V, C + 1, H, W)
    off = (1 / (read[:, :, C] * z.reshape(B, V, H, W)) - 1).abs()
    agrees = inside.reshape(B, V, H, W) & (off < 0.5)
    weight = agrees * torch.exp(-off.clamp_max(0.5) / 0.2) * view_weight(c2w, target_c2w)[..., None, None]
    total = weight.sum(dim=1)
    share = weight / total.clamp_min(1e-9)[:, None]
    mean = (read[:, :, :C] * share[:, :, None]).sum(dim=1)
    variance = ((read[:, :, :C] - mean[:, None]).pow(2).mean(dim=2) * share).sum(dim=1)
    confirmed = warp.seen & (total > 1e-5)
    return Warp(
        torch.where(confirmed[:, None], mean, warp.values), warp.depth, warp.seen, (variance * confirmed).sqrt()
    )


def solid(depth: Tensor, tolerance: float = 0.12) -> Tensor:
    """1.0 where the depth (..., h, w) is known and no edge: pixels between two surfaces would fly between them."""
    known = torch.isfinite(depth) & (depth > 0)
    log = torch.where(known, depth, torch.ones_like(depth)).log()
    padded = F.pad(log.reshape(-1, 1, *log.shape[-2:]), (1, 1, 1, 1), mode="replicate").reshape(
        *log.shape[:-2], log.shape[-2] + 2, log.shape[-1] + 2
    )
    bend_x = (padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2] - 2 * log).abs()
    bend_y = (padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1] - 2 * log).abs()
    return (known & (torch.maximum(bend_x, bend_y) < tolerance)).float()


@exact
def seen_through(depth: Tensor, measured: Tensor, K: Tensor, c2w: Tensor, margin: float = 0.1) -> Tensor:
    """(V, H, W) bool: pixels whose point lies before the surface that a sensor of another view measured there.

    depth: (V, H, W); measured: the same of the sensors, 0 unknown; K: (V, 3, 3); c2w: (V, 4, 4). margin: relative.
    """
    V, H, W = depth.shape
    found = torch.zeros_like(depth, dtype=torch.bool)
    for view in range(V):
        for other in (k for k in range(V) if k != view):
            motion = invert_rigid(c2w[other]) @ c2w[view]
            x, y, z = motion[:3, :3] @ directions(K[view], H, W) * depth[view].flatten() + motion[:3, 3:]
            u, v = K[other, 0, 0] * x / z + K[other, 0, 2], K[other, 1, 1] * y / z + K[other, 1, 2]
            inside = (z > 1e-6) & (u >= 0) & (u < W) & (v >= 0) & (v < H)
            u, v = (torch.where(inside, a, 0.0).long() for a in (u, v))
            found[view] |= (inside & (z < (1 - margin) * measured[other, v, u])).reshape(H, W)
    return found


def view_weight(c2w: Tensor, target_c2w: Tensor) -> Tensor:
    """(B, V) preference for the source cameras nearest to the target, 1 for the nearest."""
    distance = (c2w[..., :3, 3] - target_c2w[:, None, :3, 3]).norm(dim=-1)
    turn = (c2w[..., :3, 2] * target_c2w[:, None, :3, 2]).sum(-1).clamp(-1, 1).arccos()
    far = distance / distance.amax(dim=1, keepdim=True).clamp_min(1e-9) + turn + 0.05
    return (far.amin(dim=1, keepdim=True) / far) ** 2


def close_cracks(x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Fill single unseen pixels that most of their neighbours surround: cracks of splatting, not holes."""
    mask = seen[:, None].float()
    count = _box(mask)
    around = _box(x * mask) / count.clamp_min(1)
    crack = ~seen & (count[:, 0] >= 5)
    return torch.where(crack[:, None], around, x), seen | crack


def _box(x: Tensor) -> Tensor:
    """Sums over 3x3 pixels of x (B, C, H, W), zeros outside; a convolution with ones is 10x slower on a CPU."""
    x = F.pad(x, (1, 1, 1, 1))
    rows = x[..., :-2] + x[..., 1:-1] + x[..., 2:]
    return rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]


def pull_push(x: Tensor, seen: Tensor) -> Tensor:
    """Fill the unseen pixels of x (B, C, H, W) from an ever coarser pyramid of the seen (B, H, W) ones."""
    weight = seen[:, None].float()
    H, W = x.shape[-2:]
    if H * W == 1 or bool(seen.all()):
        return x
    window = (min(H, 2), min(W, 2))  # of wide pictures one side is a single pixel first
    pad = (0, W % window[1], 0, H % window[0])
    mass = F.avg_pool2d(F.pad(weight, pad), window)
    mean = F.avg_pool2d(F.pad(x * weight, pad), window) / mass.clamp_min(1e-9)
    coarse = pull_push(mean, mass[:, 0] > 0)
    fine = F.interpolate(coarse, size=(H + pad[3], W + pad[1]), mode="bilinear", align_corners=False)[..., :H, :W]
    return torch.where(seen[:, None], x, fine)


def guided_upsample(x: Tensor, guide: Tensor, fine_guide: Tensor, sigma: float = 0.06) -> Tensor:
    """Upsample x (B, C, h, w) to the size of `fine_guide` (B, 3, H, W), along the edges of that image.

    guide: (B, 3, h, w), the same image at x's resolution, 0..1. Every fine pixel averages its coarse neighbourhood,
    weighted by nearness and by likeness of colour (joint bilateral upsampling, Kopf et al. 2007).
    """
    B, C, h, w = x.shape
    H, W = fine_guide.shape[-2:]
    row = (torch.arange(H, device=x.device) + 0.5) * h / H - 0.5
    column = (torch.arange(W, device=x.device) + 0.5) * w / W - 0.5
    stacked = F.pad(torch.cat([x, guide], dim=1), (1, 1, 1, 1), mode="replicate")
    total = torch.zeros(B, 1, H, W, device=x.device)
    summed = torch.zeros(B, C, H, W, device=x.device)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            spatial = torch.exp(-0.5 * ((row + 0.5).floor() + dy - row).div(0.7).square())[:, None]
            spatial = spatial * torch.exp(-0.5 * ((column + 0.5).floor() + dx - column).div(0.7).square())
            shifted = stacked[:, :, 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]
            near = F.interpolate(shifted, size=(H, W), mode="nearest-exact")  # far faster than indexing
            unlike = (near[:, C:] - fine_guide).pow(2).sum(dim=1, keepdim=True)
            weight = spatial * (torch.exp(-(unlike / (2 * sigma**2)).clamp_max(60)) + 1e-4)  # denormals are slow
            total += weight
            summed += weight * near[:, :C]
    return summed / total
