# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What real cameras do to pictures: exposure, colour, noise, blur, rolling exposure. For training on renderings."""

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
