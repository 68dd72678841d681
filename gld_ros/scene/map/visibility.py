# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Surfaces and free space of a depth picture, as voxels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import unproject
from gld_ros.scene.map.config import MapConfig
from gld_ros.scene.map.voxels import VoxelGrid, pack

BLOCK = 8  # voxels a side of the blocks that are tested against the frustum before their voxels are
CELLS = BLOCK**3
#: (CELLS, 3) x, y, z of the voxels of a block, in the order of Open3D's attributes.
INSIDE = np.stack(np.meshgrid(*[np.arange(BLOCK)] * 3, indexing="ij")[::-1], axis=-1).reshape(-1, 3)
HALF_DIAGONAL = 0.866  # of a voxel, in its sides


@dataclass(frozen=True)
class Surface:
    """Pixels with a known depth. xyz: (N, 3) float64 metres; rgb: (N, 3) uint8; confidence: (N,) float32."""

    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray

    def where(self, mask: np.ndarray) -> Surface:
        """Those of the (N,) bool mask."""
        return Surface(self.xyz[mask], self.rgb[mask], self.confidence[mask])


def check_pictures(depth: np.ndarray, image: np.ndarray, confidence: np.ndarray, camera: Camera) -> None:
    """Raise InvalidRequest for pictures that are not of the camera's size, or a camera that cannot be."""
    camera.check("map camera")
    size = (camera.height, camera.width)
    for name, array, shape in (
        ("depth", depth, size),
        ("image", image, (*size, 3)),
        ("confidence", confidence, size),
    ):
        if array.shape != shape:
            raise InvalidRequest(f"map: {name} has the shape {array.shape}, expected {shape}, the camera's size")


def usable_pixels(depth: np.ndarray, confidence: np.ndarray, min_confidence: float) -> np.ndarray:
    """(H, W) bool: depth finite and above 0, confidence at least `min_confidence`."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(depth) & (depth > 0) & (confidence >= min_confidence)


@dataclass(frozen=True)
class Observation:
    """One depth picture, as a map takes it.

    depth: (H, W) float32 metres along z of surfaces to mark, 0 elsewhere. free: (H, W) float32 metres along z up to
    which space is free, 0 unknown. image: (H, W, 3) uint8. confidence: (H, W). stamp: ns.
    """

    depth: np.ndarray
    free: np.ndarray
    image: np.ndarray
    confidence: np.ndarray
    camera: Camera
    stamp: int

    def surface(self) -> Surface:
        """The points to mark."""
        return surface(self.depth, self.image, self.confidence, self.camera, self.depth > 0)


def observation(
    depth: np.ndarray,
    image: np.ndarray,
    confidence: np.ndarray,
    camera: Camera,
    stamp: int,
    config: MapConfig,
    carve: bool,
) -> Observation:
    """The part of a posed depth picture (H, W) that is sure enough; without free space unless `carve`.

    Space is free up to the depth of a pixel and of its eight neighbours, all of which must be known: edges of objects
    clear nothing.
    """
    marks = usable_pixels(depth, confidence, config.min_confidence) & (depth <= config.max_depth)
    sure = usable_pixels(depth, confidence, config.free_confidence) & carve
    free = np.where(sure, np.minimum(depth * (1 - config.free_margin), config.max_depth), 0).astype(np.float32)
    surfaces = np.where(marks, depth, 0).astype(np.float32)
    return Observation(surfaces, cv2.erode(free, np.ones((3, 3), np.uint8)), image, confidence, camera, stamp)


def surface(
    depth: np.ndarray, image: np.ndarray, confidence: np.ndarray, camera: Camera, pixels: np.ndarray
) -> Surface:
    """The points of the (H, W) bool `pixels` of a z-depth picture (H, W), metres."""
    xyz = unproject(depth, camera)[pixels]
    return Surface(xyz, image[pixels], np.clip(confidence[pixels], 0, 1).astype(np.float32))


def seen_free(limit: np.ndarray, camera: Camera, grid: VoxelGrid) -> np.ndarray:
    """(N,) sorted keys of the voxels that lie wholly before the `limit` (H, W) of the pixel at their centre.

    limit: float32 metres along z, as in `Observation.free`.
    """
    far = float(limit.max(initial=0)) - HALF_DIAGONAL * grid.voxel_size
    if far <= 0:
        return np.empty(0, np.int64)
    blocks = blocks_in_view(camera, grid, far)
    z, pixel, voxel = (a.numpy() for a in project_voxels(blocks, camera, grid))
    free = voxel[z + HALF_DIAGONAL * grid.voxel_size <= limit.ravel()[pixel]]
    return np.sort(voxel_keys(blocks, free))


def project_voxels(
    blocks: np.ndarray, camera: Camera, grid: VoxelGrid, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """For the voxels of (B, 3) `blocks` inside the picture: depth along z, number of the pixel (row * width + column),
    number of the voxel (block * CELLS + place in the block, as in INSIDE)."""
    rotation = camera.c2w[:3, :3]
    corners = (blocks * BLOCK + 0.5) * grid.voxel_size + grid.origin - camera.center
    steps = INSIDE * grid.voxel_size @ rotation
    corners, steps = (torch.from_numpy(a.astype(np.float32)).to(device) for a in (corners @ rotation, steps))
    x, y, z = (corners[:, None] + steps).reshape(-1, 3).unbind(1)
    K, before = camera.K, z.clamp_min(1e-6)
    u, v = (x / before * K[0, 0] + K[0, 2]).floor(), (y / before * K[1, 1] + K[1, 2]).floor()
    inside = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    (voxel,) = torch.nonzero(inside, as_tuple=True)
    return z[voxel], v[voxel].long() * camera.width + u[voxel].long(), voxel


def voxel_keys(blocks: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """(N,) keys of the voxels with the (N,) numbers of `project_voxels`."""
    return pack(blocks[voxels // CELLS] * BLOCK + INSIDE[voxels % CELLS])


def blocks_in_view(camera: Camera, grid: VoxelGrid, far: float) -> np.ndarray:
    """(B, 3) indices of the blocks that may meet the camera's frustum up to `far` metres along z."""
    K, side = camera.K, BLOCK * grid.voxel_size
    (left, right), (top, bottom) = (
        ((edge - K[i, 2]) / K[i, i] for edge in (0, (camera.width, camera.height)[i])) for i in (0, 1)
    )
    corners = np.array([(0, 0, 0), *((x * far, y * far, far) for x in (left, right) for y in (top, bottom))])
    world = corners @ camera.c2w[:3, :3].T + camera.center - grid.origin
    low, high = (np.floor(f(world, axis=0) / side).astype(np.int64) for f in (np.min, np.max))
    blocks = np.stack(np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
    blocks = blocks.reshape(-1, 3)
    x, y, z = (((blocks + 0.5) * side + grid.origin - camera.center) @ camera.c2w[:3, :3]).T
    margin = HALF_DIAGONAL * side  # of a ball around the block
    meets = (z > -margin) & (z < far + margin)
    for a, low_edge, high_edge in ((x, left, right), (y, top, bottom)):
        meets &= a - low_edge * z >= -margin * np.hypot(1, low_edge)
        meets &= high_edge * z - a >= -margin * np.hypot(1, high_edge)
    return blocks[meets]
