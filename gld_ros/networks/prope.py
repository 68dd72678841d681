# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""PRoPE: attention that knows the cameras' projective geometry (spec gld.md; arXiv 2507.10496)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gld_ros.geometry.rays import exact, invert_rigid
from gld_ros.networks.configs import DiTCompat


@dataclass
class CameraTables:
    """The cameras as attention reads them, made once a request, in float32.

    project, unproject: (B, V, 4, 4). cos, sin: (h * w, head_dim / 4), columns in the first half, rows in the second.
    A view's tokens in front of its h * w patches, special ones, are left as they are.
    """

    project: Tensor
    unproject: Tensor
    cos: Tensor
    sin: Tensor


@exact
def camera_tables(
    K: Tensor, w2c: Tensor, size: tuple[int, int], grid: tuple[int, int], head_dim: int, compat: DiTCompat | None = None
) -> CameraTables:
    """K: (B, V, 3, 3) pixels of images of size (H, W); w2c: (B, V, 4, 4); grid: (h, w) patches."""
    compat = compat or DiTCompat()
    H, W = (compat.fixed_image_size,) * 2 if compat.fixed_image_size else size
    lifted = torch.zeros(*K.shape[:2], 4, 4, device=K.device)
    lifted[..., 0, 0], lifted[..., 0, 2] = K[..., 0, 0] / W, K[..., 0, 2] / W - 0.5
    lifted[..., 1, 1], lifted[..., 1, 2] = K[..., 1, 1] / H, K[..., 1, 2] / H - 0.5
    lifted[..., 2, 2] = lifted[..., 3, 3] = 1
    project = lifted @ w2c.float()
    unproject = invert_rigid(w2c.float()) @ (lifted if compat.uninverted_intrinsics else torch.linalg.inv(lifted))
    rows, columns = torch.meshgrid(*(torch.arange(n, device=K.device) for n in grid), indexing="ij")
    eighth = head_dim // 8
    frequency = 100.0 ** (-torch.arange(eighth, device=K.device) / eighth)
    angle = torch.cat([columns.reshape(-1, 1) * frequency, rows.reshape(-1, 1) * frequency], dim=-1)
    return CameraTables(project, unproject, angle.cos(), angle.sin())


@exact
def transform(x: Tensor, matrix: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B, heads, V * T, D): 4-vectors of the first half times the view's matrix, the second half rotated."""
    B, heads, _, D = x.shape
    V, N = matrix.shape[1], len(cos)
    views = x.unflatten(2, (V, -1))
    special, patches = views[:, :, :, :-N], views[:, :, :, -N:]
    geometric, rotary = patches.float().chunk(2, dim=-1)
    geometric = multiply(geometric.reshape(B, heads, V, -1, 4), matrix[:, None])
    # Two rotary quarters (x, then y), each split in halves.
    rotary = rotary.reshape(B, heads, V, N, 2, 2, D // 8)
    first, second = rotary.unbind(dim=-2)
    cos, sin = cos.unflatten(-1, (2, -1)), sin.unflatten(-1, (2, -1))
    rotary = torch.stack([cos * first + sin * second, cos * second - sin * first], dim=-2)
    patches = torch.cat([geometric.reshape(B, heads, V, N, D // 2), rotary.reshape(B, heads, V, N, D // 2)], dim=-1)
    patches = patches.to(x.dtype)
    if special.shape[3]:
        patches = torch.cat([special, patches], dim=3)
    return patches.flatten(2, 3)


def multiply(x: Tensor, matrix: Tensor) -> Tensor:
    """Vectors (..., n, 4) times matrices (..., 4, 4), transposed.

    Compiled it is written out, so that it becomes part of the kernel around it instead of a matrix product.
    """
    if torch.compiler.is_compiling():
        return (x[..., None, :] * matrix[..., None, :, :]).sum(dim=-1)
    return x @ matrix.transpose(-1, -2)


def encode(q: Tensor, k: Tensor, v: Tensor, tables: CameraTables) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, heads, V * T, D) in the common frame."""
    q = transform(q, tables.project.transpose(-1, -2), tables.cos, tables.sin)
    k = transform(k, tables.unproject, tables.cos, tables.sin)
    v = transform(v, tables.unproject, tables.cos, tables.sin)
    return q, k, v


def decode(o: Tensor, tables: CameraTables) -> Tensor:
    """Attention's output back in each view's frame."""
    return transform(o, tables.project, tables.cos, -tables.sin)
