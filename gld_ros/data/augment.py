# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same posed views as other cameras might have taken them, for training.

Photometric changes: exposure, colour, noise, blur, rolling exposure. Geometric ones: crops, zoom, stretch, mirror.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def photometric(images: Tensor, share: float = 0.5) -> Tensor:
    """Views (B, V, 3, H, W) 0..1 as different cameras might have taken them; a `share` of the scenes, others untouched.

    Every view has its own exposure, white balance, gamma, vignetting, drift of exposure over its rows (flicker of a
    rolling shutter), blur (defocus or motion), shot and read noise.
    """
    B, V, _, H, W = images.shape
    device = images.device

    def draw(*shape: int, deviation: float) -> Tensor:
        return deviation * torch.randn(*shape, device=device)

    x = images.flatten(0, 1).clamp(0, 1)
    N = B * V
    x = x ** draw(N, 1, 1, 1, deviation=0.12).exp()
    x = x * (draw(N, 1, 1, 1, deviation=0.12) + draw(N, 3, 1, 1, deviation=0.04)).exp()
    row, column = torch.linspace(-1, 1, H, device=device)[:, None], torch.linspace(-1, 1, W, device=device)
    falloff = torch.rand(N, 1, 1, 1, device=device) * 0.15 * (row**2 + column**2)
    drift = draw(N, 1, 1, 1, deviation=0.05) * torch.sin(3 * row + 6 * torch.rand(N, 1, 1, 1, device=device))
    x = blurred(x * (1 - falloff) * (1 + drift))
    strength = torch.rand(N, 1, 1, 1, device=device) ** 2
    x = x + strength * torch.randn_like(x) * (0.02**2 + 0.03**2 * x.clamp_min(0)).sqrt()
    changed = torch.rand(B, 1, 1, 1, 1, device=device) < share
    return torch.where(changed, x.clamp(0, 1).unflatten(0, (B, V)), images)


def blurred(x: Tensor, share: float = 0.5) -> Tensor:
    """(N, 3, H, W); a `share` of them blurred along a direction of its own (motion) or all around (defocus)."""
    N = x.shape[0]
    angle = torch.rand(N, device=x.device) * torch.pi
    offsets = torch.arange(-2.0, 3.0, device=x.device)
    along = angle.cos()[:, None, None] * offsets + angle.sin()[:, None, None] * offsets[:, None]
    across = angle.cos()[:, None, None] * offsets[:, None] - angle.sin()[:, None, None] * offsets
    length = 0.2 + 1.2 * torch.rand(N, 1, 1, device=x.device)
    width = torch.where(torch.rand(N, 1, 1, device=x.device) < 0.5, length, 0.3)
    kernel = torch.exp(-((along / length) ** 2) / 2 - ((across / width) ** 2) / 2)
    kernel = kernel / kernel.sum(dim=(1, 2), keepdim=True)
    padded = F.pad(x, (2, 2, 2, 2), mode="replicate").transpose(0, 1)
    made = F.conv2d(padded, kernel[:, None], groups=N).transpose(0, 1)
    return torch.where(torch.rand(N, 1, 1, 1, device=x.device) < share, made, x)


#: The longest zoom, and by how much pixels may be wider than high (deviation of the logarithm).
ZOOM, STRETCH = 1.6, 0.07


def reframed(
    images: Tensor, K: Tensor, c2w: Tensor, depth: Tensor, size: tuple[int, int], detail: int = 1
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One window of each scene at another size, for all of its views; half of the scenes mirrored.

    images: (B, V, 3, h, w); K: (B, V, 3, 3) pixels; c2w: (B, V, 4, 4); depth: (B, V, h, w), NaN unknown. Returns images
    at `detail` times `size` (W, H), K and depth at `size`, and the poses: a mirrored scene has them mirrored, too.
    """
    (B, V, _, h, w), (W, H), device = images.shape, size, images.device
    wide, high, left, top = windows(B, (w, h), W / H, device)
    mirrored = torch.rand(B, device=device) < 0.5
    sign = torch.where(mirrored, -1.0, 1.0)

    window = torch.zeros(B, 2, 3, device=device)  # from places in the new views to places in the old ones, -1..1
    window[:, 0, 0], window[:, 0, 2] = sign * wide / w, (2 * left + wide) / w - 1
    window[:, 1, 1], window[:, 1, 2] = high / h, (2 * top + high) / h - 1

    def grid(columns: int, rows: int) -> Tensor:
        return F.affine_grid(window.repeat_interleave(V, dim=0), [B * V, 1, rows, columns], align_corners=False)

    pictures = F.grid_sample(images.flatten(0, 1), grid(detail * W, detail * H), "bilinear", "border", False)
    depth = F.grid_sample(depth.flatten(0, 1)[:, None], grid(W, H), "nearest", "border", False)
    scale = torch.stack([W / wide, H / high, torch.ones_like(wide)], dim=-1)
    K = K.clone()
    K[..., :2, 2] -= torch.stack([left, top], dim=-1)[:, None]
    K = K * scale[:, None, :, None]
    K[..., 0, 2] = torch.where(mirrored[:, None], W - K[..., 0, 2], K[..., 0, 2])
    flip = torch.ones(B, 4, device=device)
    flip[:, 0] = sign
    c2w = flip[:, None, :, None] * c2w * flip[:, None, None, :]
    return pictures.unflatten(0, (B, V)), K, c2w, depth.reshape(B, V, H, W)


def windows(
    count: int, size: tuple[int, int], aspect: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Width, height, left and upper edge (count,) of windows inside pictures of `size` (w, h), about `aspect` wide."""
    w, h = size
    high = min(h, w / aspect) / ZOOM ** torch.rand(count, device=device)
    wide = (high * aspect * (STRETCH * torch.randn(count, device=device)).exp()).clamp_max(w)
    return wide, high, torch.rand(count, device=device) * (w - wide), torch.rand(count, device=device) * (h - high)
