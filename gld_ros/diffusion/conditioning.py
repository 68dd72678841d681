# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the cameras condition the diffusion stages, and the null condition of guidance (spec gld.md)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gld_ros.geometry.rays import exact, invert_rigid, plucker
from gld_ros.networks.configs import Compat, DiTCompat
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.prope import CameraTables, camera_tables


@dataclass
class Cameras:
    """camera_map: (B, V, c, H, W); tables: PRoPE of encoder and head; sources: how many views, the first, are given."""

    camera_map: Tensor
    tables: tuple[CameraTables, CameraTables]
    sources: int


class RequestCameras:
    """Camera map (mask 0 source, 1 target; unit rays; moments) and PRoPE tables of all views, in float32.

    Each is made once for all networks that read the same.

    K: (B, V, 3, 3) pixels of images of size (H, W); c2w: (B, V, 4, 4); grid: (h, w) patches. The last view becomes the
    identity and the farthest coordinate 1: neither the world's frame nor its unit has a say (but see
    `Compat.world_frame_poses`). seen: (B, N, H, W) bool for warp-conditioned models, which read in one
    channel more what pixels of the N targets some source saw.
    """

    @exact
    def __init__(
        self,
        K: Tensor,
        c2w: Tensor,
        sources: int,
        size: tuple[int, int],
        grid: tuple[int, int],
        compat: Compat,
        seen: Tensor | None = None,
    ):
        self.K, self.sources, self.size, self.grid = K.float(), sources, size, grid
        relative, self.w2c = normalized_poses(c2w, compat.world_frame_poses)
        rays = plucker(self.K, relative, *size, compat.pixel_offset)
        mask = torch.zeros(*K.shape[:2], 1, *size, device=K.device)
        mask[:, sources:] = 1
        channels = [mask, rays]
        if seen is not None:
            visible = torch.ones_like(mask)
            visible[:, sources:, 0] = seen.float()
            channels.append(visible)
        self._map = torch.cat(channels, dim=2)
        self._tables: dict[tuple, CameraTables] = {}

    def condition(self, dit: MultiViewDiT, drop: bool = False) -> Cameras:
        """For a network. drop: the unconditional branch of guidance; it keeps the mask and loses rays and poses."""
        encoder, head = (self._table(dim, dit.config.compat, drop) for dim in dit.head_dims)
        return Cameras(self._null_map if drop else self._map, (encoder, head), self.sources)

    @cached_property
    def _null_map(self) -> Tensor:
        null = self._map.clone()
        null[:, :, 1:7] = 0
        return null

    def _table(self, head_dim: int, compat: DiTCompat, drop: bool) -> CameraTables:
        K, w2c = self.K, self.w2c
        if drop:
            w2c = torch.eye(4, device=K.device).expand_as(w2c)
            if compat.identity_null_intrinsics:
                K = torch.eye(3, device=K.device).expand_as(K)
        size = (compat.fixed_image_size,) * 2 if compat.fixed_image_size else self.size
        key = (head_dim, size, compat.uninverted_intrinsics, drop, drop and compat.identity_null_intrinsics)
        if key not in self._tables:
            self._tables[key] = camera_tables(K, w2c, self.size, self.grid, head_dim, compat)
        return self._tables[key]


def normalized_poses(c2w: Tensor, world_frame: bool = False) -> tuple[Tensor, Tensor]:
    """c2w (B, V, 4, 4) relative to the last view, scaled so that the farthest coordinate is 1; and w2c for PRoPE.

    w2c is the inverse, or, with `world_frame`, that of the given poses with its translation scaled alike.
    """
    c2w = c2w.double()
    relative = invert_rigid(c2w[:, -1:]) @ c2w
    scale = (relative[..., :3, 3].abs().amax(dim=(1, 2)) + 1e-8).reciprocal()[:, None, None]
    relative[..., :3, 3] *= scale
    w2c = invert_rigid(relative)
    if world_frame:
        w2c = invert_rigid(c2w)
        w2c[..., :3, 3] *= scale
    return relative.float(), w2c.float()
