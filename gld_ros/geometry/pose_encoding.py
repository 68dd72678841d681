# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras as the 9 numbers that camera heads write and read (spec models.md A4, A5 and C).

[translation (3), quaternion x y z w (4), vertical and horizontal field of view (rad)] of a rigid pose: c2w in DA3, w2c
in VGGT. The principal point is not part of it. Batched torch, in the dtype of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gld_ros.geometry.rays import exact


def encode_camera(pose: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., 9) of rigid matrices pose (..., 3 or 4, 4) and pixel intrinsics K (..., 3, 3) of (H, W) images.

    The quaternion has unit norm and w >= 0.
    """
    half_height, half_width = size[0] / 2, size[1] / 2
    fov = torch.stack([half_height / K[..., 1, 1], half_width / K[..., 0, 0]], dim=-1).atan() * 2
    return torch.cat([pose[..., :3, 3], matrix_to_quaternion(pose[..., :3, :3]), fov], dim=-1)


def decode_camera(encoding: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pose (..., 4, 4) and pixel intrinsics K (..., 3, 3) of (H, W) images from (..., 9); K is centred.

    Heads may report a field of view of 0: as in DA3, tangents below 1e-6 count as 1e-6, so that K stays finite.
    """
    half = encoding.new_tensor([size[0] / 2, size[1] / 2])
    focal = half / (encoding[..., 7:9] / 2).tan().clamp_min(1e-6)
    K = torch.diag_embed(torch.stack([focal[..., 1], focal[..., 0], torch.ones_like(focal[..., 0])], dim=-1))
    K[..., 0, 2], K[..., 1, 2] = half[1], half[0]
    top = torch.cat([quaternion_to_matrix(encoding[..., 3:7]), encoding[..., :3, None]], dim=-1)
    last = encoding.new_tensor([0.0, 0, 0, 1]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, last], dim=-2), K


@exact
def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of quaternions (..., 4) x, y, z, w of any norm but 0."""
    vector, w = quaternion[..., None, :3], quaternion[..., 3, None, None]
    identity = torch.eye(3, dtype=quaternion.dtype, device=quaternion.device)
    # cross @ x = vector x x
    cross = torch.linalg.cross(vector, identity.expand(*vector.shape[:-2], 3, 3), dim=-1).transpose(-1, -2)
    return identity + 2 * (w * cross + cross @ cross) / (quaternion * quaternion).sum(dim=-1)[..., None, None]


def matrix_to_quaternion(rotation: Tensor) -> Tensor:
    """Unit quaternions (..., 4) x, y, z, w with w >= 0 of rotations (..., 3, 3).

    4 q q^T is linear in the rotation; its row with the largest diagonal entry, normalised, is q.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in rotation.unbind(-2))
    rows = [
        [1 + a - e - i, b + d, c + g, h - f],
        [b + d, 1 - a + e - i, f + h, c - g],
        [c + g, f + h, 1 - a - e + i, d - b],
        [h - f, c - g, d - b, 1 + a + e + i],
    ]
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    quaternion = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
