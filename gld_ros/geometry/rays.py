# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pixels to rays and back, in torch, float32 or better whatever the caller's autocast."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

#: Where the centre of the first pixel lies (x, y).
CENTRE = (0.5, 0.5)

P = ParamSpec("P")
R = TypeVar("R")


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Camera maths in the dtype of its arguments: autocast would round poses and rays to bfloat16's 8 bits."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next(value.device for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast("cpu" if device.type == "meta" else device.type, enabled=False):
            return function(*args, **kwargs)

    return run


def pixel_grid(
    height: int, width: int, device: torch.device | str = "cpu", offset: tuple[float, float] = CENTRE
) -> Tensor:
    """Homogeneous pixel centres (3, H * W): column and row plus `offset`, 1."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x.flatten() + offset[0], y.flatten() + offset[1], torch.ones(height * width, device=device)])


def directions(K: Tensor, height: int, width: int, offset: tuple[float, float] = CENTRE) -> Tensor:
    """Camera-frame rays with z = 1, (..., 3, H * W), of pixel intrinsics K (..., 3, 3)."""
    pixels = pixel_grid(height, width, K.device, offset).to(K.dtype)
    x = (pixels[0] - K[..., 0, 2, None]) / K[..., 0, 0, None]
    y = (pixels[1] - K[..., 1, 2, None]) / K[..., 1, 1, None]
    return torch.stack([x, y, torch.ones_like(x)], dim=-2)


@exact
def invert_rigid(pose: Tensor) -> Tensor:
    """Inverse of rigid (..., 4, 4) matrices."""
    rotation_t = pose[..., :3, :3].transpose(-1, -2)
    top = torch.cat([rotation_t, -rotation_t @ pose[..., :3, 3:]], dim=-1)
    return torch.cat([top, pose[..., 3:, :]], dim=-2)


@exact
def plucker(K: Tensor, c2w: Tensor, height: int, width: int, offset: tuple[float, float] = CENTRE) -> Tensor:
    """Unit ray direction and moment (origin x direction), (..., 6, H, W), in the frame c2w maps to."""
    rays = c2w[..., :3, :3] @ directions(K, height, width, offset)
    rays = rays / rays.norm(dim=-2, keepdim=True)
    moment = torch.cross(c2w[..., :3, 3:].expand_as(rays), rays, dim=-2)
    return torch.cat([rays, moment], dim=-2).unflatten(-1, (height, width))


@exact
def ray_map(K: Tensor, c2w: Tensor, height: int, width: int) -> Tensor:
    """(..., H, W, 6): direction R K^-1 [u, v, 1] and camera centre, as DualDPT predicts them."""
    rays = c2w[..., :3, :3] @ directions(K, height, width)
    centre = c2w[..., :3, 3:].expand_as(rays)
    return torch.cat([rays, centre], dim=-2).transpose(-1, -2).unflatten(-2, (height, width))
