# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth images to points."""

from __future__ import annotations

import math

import numpy as np

from gld_ros.geometry.cameras import Camera


def unproject(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """World points (H, W, 3) float64, metres, of a z-depth image (H, W); NaN where the depth is unknown."""
    return np.stack(world_coordinates(depth, camera, dtype=np.float64), axis=-1)


def world_coordinates(
    depth: np.ndarray, camera: Camera, stride: int = 1, dtype: type[np.floating] = np.float32
) -> list[np.ndarray]:
    """World x, y and z, (h, w) of `dtype` each, metres, at every `stride`-th row and column of z-depth (H, W)."""
    x = (np.arange(0, camera.width, stride) + 0.5 - camera.K[0, 2]) / camera.K[0, 0]
    y = (np.arange(0, camera.height, stride) + 0.5 - camera.K[1, 2]) / camera.K[1, 1]
    depth = depth[::stride, ::stride].astype(dtype, copy=False)
    return [
        depth * np.add.outer((r[1] * y + r[2]).astype(dtype), (r[0] * x).astype(dtype)) + dtype(centre)
        for r, centre in zip(camera.c2w[:3, :3], camera.center, strict=True)
    ]


def stride_within(size: tuple[int, ...], limit: int) -> int:
    """The least n with which every n-th row and column of a picture of (H, W) are at most `limit` pixels."""
    height, width = size
    stride = max(1, math.isqrt(height * width // limit))
    while -(-height // stride) * -(-width // stride) > limit:
        stride += 1
    return stride


def project(points: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (..., 2) and z-depths (...) of world points (..., 3)."""
    local = (points - camera.center) @ camera.c2w[:3, :3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = local[..., :2] / local[..., 2:] * camera.K[[0, 1], [0, 1]] + camera.K[:2, 2]
    return pixels, local[..., 2]
