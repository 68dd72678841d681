# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Between VGGT and the geometry adapter's token maps: levels to maps, and maps to depth, points and cameras.

A token map has the channels of four levels, then those of the last level's camera token, the same at every patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from gld_ros.geometry.rays import directions, exact
from gld_ros.networks.camera_head import CameraHead, decode_camera
from gld_ros.networks.configs import DPTConfig
from gld_ros.networks.dpt import DualDPT, PointDPT
from gld_ros.networks.encoder import Level
from gld_ros.networks.gen3r.latents import TIME

LEVELS = 4
#: compat: points are unprojected as if pixel centres had whole numbers, though rays count half pixels.
WHOLE_PIXELS = (0.0, 0.0)
#: Depths of a frame that count: between these quantiles, and at most so far in units of the model.
NEAREST, FARTHEST, LIMIT = 0.001, 0.98, 50.0
SMALLEST = 1e-8


@dataclass
class ClipGeometry:
    """The geometry of a clip in VGGT's units; the first camera is nearly the world.

    depth, depth_confidence: (B, F, H, W); points: (B, F, H, W, 3) of the point head, point_confidence: (B, F, H, W);
    w2c: (B, F, 4, 4); K: (B, F, 3, 3) pixels. Confidences are 1 + exp(.).
    """

    depth: Tensor
    depth_confidence: Tensor
    points: Tensor
    point_confidence: Tensor
    w2c: Tensor
    K: Tensor


def token_maps(levels: list[Level]) -> Iterator[Tensor]:
    """Token maps (B, 10240, 1 or 4, h, w) of VGGT's levels of a clip, frame 0 first, then four frames at a time."""
    F = levels[0].tokens.shape[1]
    for frames in (slice(0, 1), *(slice(i, i + TIME) for i in range(1, F, TIME))):
        parts = [level.patches[:, frames] for level in levels]
        camera = levels[-1].camera[:, frames, :, None, None]
        parts.append(camera.expand(-1, -1, -1, *levels[0].grid))
        yield torch.cat(parts, dim=2).transpose(1, 2)


def levels_of(tokens: Tensor) -> tuple[list[Tensor], Tensor]:
    """Patches (B, F, h w, C) of the four levels and the camera token (B, F, C), its mean, of token maps."""
    *levels, camera = rearrange(tokens, "b c f h w -> b f (h w) c").chunk(LEVELS + 1, dim=-1)
    return levels, camera.mean(dim=2)


class GeometryHeads(nn.Module):
    """VGGT's heads on decoded token maps. channels: of a level."""

    def __init__(self, channels: int, config: DPTConfig):
        super().__init__()
        self.camera_head = CameraHead(channels)
        self.point_head = PointDPT(channels, config)
        self.depth_head = DualDPT(channels, config)

    def forward(self, chunks: Iterable[Tensor], size: tuple[int, int]) -> ClipGeometry:
        """The geometry of token maps, chunk by chunk, at (H, W): only the camera head needs all frames."""
        dense: list[tuple[Tensor, ...]] = []
        cameras = []
        for tokens in chunks:
            levels, camera = levels_of(tokens)
            grid = (tokens.shape[-2], tokens.shape[-1])
            seen = self.depth_head(levels, grid, size)
            dense.append((seen.depth, seen.depth_confidence, *self.point_head(levels, grid, size)))
            cameras.append(camera)
        depth, depth_confidence, points, point_confidence = (
            torch.cat(maps, dim=1) for maps in zip(*dense, strict=True)
        )
        w2c, K = decode_camera(self.camera_head(torch.cat(cameras, dim=1))[-1], size)
        return ClipGeometry(depth, depth_confidence, points, point_confidence, w2c, K)


@exact
def unprojected(depth: Tensor, w2c: Tensor, K: Tensor) -> Tensor:
    """World points (..., H, W, 3) of depth (..., H, W), w2c (..., 3 or 4, 4) and K (..., 3, 3), as released."""
    H, W = depth.shape[-2:]
    local = directions(K, H, W, WHOLE_PIXELS) * depth.flatten(-2)[..., None, :]
    world = w2c[..., :3, :3].transpose(-1, -2) @ (local - w2c[..., :3, 3:])
    return world.transpose(-1, -2).unflatten(-2, (H, W))


def reliable(depth: Tensor) -> Tensor:
    """(..., H, W) bool: depths above the nearest 0.1 % and below the farthest 2 % of each frame, and near enough."""
    flat = depth.flatten(-2).double()
    low, high = torch.quantile(flat, torch.tensor([NEAREST, FARTHEST], dtype=flat.dtype, device=flat.device), dim=-1)
    low, high = low.clamp_min(SMALLEST)[..., None, None], high.clamp_max(LIMIT)[..., None, None]
    return (depth > low) & (depth < high)
