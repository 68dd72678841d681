# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth images to points, points to pixels, and what cameras see of the space before them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import invert

SAMPLE_GRID = (8, 6)  # rays a target camera, across and down
SAMPLE_DEPTHS = (1.0, 2.0, 4.0, 8.0, 16.0)  # in distances from the target to its 4th nearest frame: no scale is needed
NEIGHBOURS = 4
FINE = 1.2e-4  # metres; steps of float32 below 2 km
MOST_POINTS = 2**22  # that a depth image is made finer to
SMOOTH = 0.03  # relative difference of depth up to which neighbours are one surface
FINER = 1.5  # points that a depth pixel needs for each pixel it covers, each way, to leave no cracks in its surface


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


def float32_step(points: np.ndarray) -> float:
    """Metres from one float32 to the next at the largest coordinate of points (..., 3); 0 without finite ones."""
    finite = points[np.isfinite(points)]
    return float(np.spacing(np.abs(finite).max().astype(np.float32))) if finite.size else 0.0


def local_origin(points: np.ndarray) -> np.ndarray:
    """(3,) whole metres near the middle of (N, 3) points; zeros where float32 is fine enough without."""
    if float32_step(points) < FINE:
        return np.zeros(3)
    return np.round(np.nanmedian(np.where(np.isfinite(points), points, np.nan), axis=0)) + 0.0  # no -0


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


def reprojected(depth: np.ndarray, camera: Camera, target: Camera) -> np.ndarray:
    """(H, W) float32 z-depth in `target` of what a depth image (h, w) of `camera` shows; NaN where it shows nothing.

    Of several surfaces in a pixel the nearest stays; they are not blended. Depth of `target` itself stays as it is.
    """
    motion = invert(target.c2w) @ camera.c2w
    sizes = (camera.width, camera.height), (target.width, target.height)
    if (
        sizes[0] == sizes[1]
        and np.allclose(camera.K, target.K, atol=1e-3)
        and np.allclose(motion, np.eye(4), atol=1e-6)
    ):
        return depth
    most = math.isqrt(MOST_POINTS // (camera.width * camera.height))
    finer = max(1, min(math.ceil(FINER * target.K[0, 0] / camera.K[0, 0]), most))
    dense = camera.resized(camera.width * finer, camera.height * finer).moved(motion)
    blocks = depth.repeat(finer, 0).repeat(finer, 1)
    smooth = cv2.resize(depth, (dense.width, dense.height), interpolation=cv2.INTER_LINEAR)
    within = np.where(np.abs(smooth - blocks) < SMOOTH * blocks, smooth, blocks)  # never across an edge
    x, y, z = (a.ravel() for a in world_coordinates(within, dense))
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.floor(x / z * np.float32(target.K[0, 0]) + np.float32(target.K[0, 2]))
        v = np.floor(y / z * np.float32(target.K[1, 1]) + np.float32(target.K[1, 2]))
        inside = (z > 0) & (u >= 0) & (u < target.width) & (v >= 0) & (v < target.height)
    found = np.full(target.height * target.width, np.inf, np.float32)
    np.minimum.at(found, v[inside].astype(np.int64) * target.width + u[inside].astype(np.int64), z[inside])
    return np.where(np.isfinite(found), found, np.nan).astype(np.float32).reshape(target.height, target.width)


def resampled(depth: np.ndarray, K: np.ndarray, camera: Camera) -> np.ndarray:
    """(H, W) z-depth in `camera` of a depth image (h, w) taken with K (3, 3) from the same pose; NaN beside it.

    Values are repeated, never blended.
    """
    places = []
    for axis, count in ((1, camera.height), (0, camera.width)):
        rays = (np.arange(count) + 0.5 - camera.K[axis, 2]) / camera.K[axis, axis]
        pixels = np.floor(rays * K[axis, axis] + K[axis, 2] + 1e-6).astype(int)  # a border between two is the second's
        places.append(np.where((pixels >= 0) & (pixels < depth.shape[1 - axis]), pixels + 1, 0))
    return np.pad(depth, ((1, 0), (1, 0)), constant_values=np.nan)[places[0][:, None], places[1]]


def frustum(camera: Camera, depth: float) -> np.ndarray:
    """(4, 3) corners in the world of the image plane at `depth` metres: top left, top right, bottom right and left."""
    corners = np.array([(0, 0), (camera.width, 0), (camera.width, camera.height), (0, camera.height)], dtype=np.float64)
    return camera.center + rays_through(camera, corners) * depth


def overlap(cameras: Sequence[Camera], target: Camera) -> float:
    """Share (0..1) of what `target` may look at that lies in some camera's view, at the depths of `select_sources`."""
    points, _ = sample_points(cameras, [target])
    return float(np.any([sees(camera, points) for camera in cameras], axis=0).mean())


def sample_points(cameras: Sequence[Camera], targets: Sequence[Camera]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) points in front of the targets, at depths measured in distances to the cameras, and (N, 3) the centres of
    the targets that look at them."""
    centers = np.stack([camera.center for camera in cameras])
    points, origins = [], []
    for target in targets:
        distances = np.sort(np.linalg.norm(centers - target.center, axis=1))
        reach = float(distances[:NEIGHBOURS][-1]) or 1.0
        across, down = SAMPLE_GRID
        u, v = np.meshgrid((np.arange(across) + 0.5) / across, (np.arange(down) + 0.5) / down)
        rays = rays_through(target, np.stack([u.ravel() * target.width, v.ravel() * target.height], axis=1))
        for depth in SAMPLE_DEPTHS:
            points.append(target.center + rays * (depth * reach))
            origins.append(np.broadcast_to(target.center, rays.shape))
    return np.concatenate(points), np.concatenate(origins)


def rays_through(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """(N, 3) rays in the world of depth 1 through (N, 2) `pixels`."""
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
    return homogeneous @ np.linalg.inv(camera.K).T @ camera.c2w[:3, :3].T


def sees(camera: Camera, points: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the (N, 3) world points lie inside the image."""
    local = (points - camera.center) @ camera.c2w[:3, :3]
    in_front = local[:, 2] > 1e-9
    pixels = local @ camera.K.T
    u, v = (pixels[:, :2] / np.where(in_front, local[:, 2], 1)[:, None]).T
    return in_front & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip((a * b).sum(axis=-1), -1, 1))
