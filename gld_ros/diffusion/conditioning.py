"""What the diffusion stages are told of the cameras, with and without a condition (spec gld.md)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gld_ros.geometry.rays import invert_rigid, plucker
from gld_ros.models.configs import Compat
from gld_ros.models.dit import MultiViewDiT
from gld_ros.models.prope import CameraTables, camera_tables


@dataclass
class Cameras:
    """camera_map: (B, V, c, H, W); tables: PRoPE of encoder and head; sources: how many views, the first, are given."""

    camera_map: Tensor
    tables: tuple[CameraTables, CameraTables]
    sources: int


def camera_conditions(
    dit: MultiViewDiT,
    K: Tensor,
    c2w: Tensor,
    sources: int,
    size: tuple[int, int],
    grid: tuple[int, int],
    compat: Compat,
    seen: Tensor | None = None,
    drop: bool = False,
) -> Cameras:
    """Camera map (mask 0 source, 1 target; unit rays; moments) and PRoPE tables of all views, in float32.

    K: (B, V, 3, 3) pixels of images of size (H, W); c2w: (B, V, 4, 4); grid: (h, w) patches. The last view becomes the
    identity and the farthest coordinate 1: neither the world's frame nor its unit has a say (but see
    `Compat.world_frame_poses`). seen: (B, H, W) bool for
    models that are told which pixels of the target (the last view) some source saw, one channel more.
    drop: the unconditional branch of guidance; it keeps the mask and loses rays and poses.
    """
    B, V = K.shape[:2]
    H, W = size
    with torch.autocast(K.device.type, enabled=False):
        K = K.float()
        relative, w2c = normalized_poses(c2w, compat.world_frame_poses)
        rays = plucker(K, relative, H, W, compat.pixel_offset)
        if drop:
            rays = torch.zeros_like(rays)
            w2c = torch.eye(4, device=K.device).expand(B, V, 4, 4)
            if dit.config.compat.identity_null_intrinsics:
                K = torch.eye(3, device=K.device).expand(B, V, 3, 3)
        channels = [torch.zeros(B, V, 1, H, W, device=K.device), rays]
        channels[0][:, sources:] = 1
        if seen is not None:
            visible = torch.ones(B, V, 1, H, W, device=K.device)
            visible[:, -1, 0] = seen.float()
            channels.append(visible)
        encoder, head = (camera_tables(K, w2c, size, grid, dim, dit.config.compat) for dim in dit.head_dims)
    return Cameras(torch.cat(channels, dim=2), (encoder, head), sources)


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
