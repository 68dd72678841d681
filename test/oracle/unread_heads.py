# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of DA3 that no model here uses: its camera networks (spec models.md A4 and A5) and the official pose solves."""

from __future__ import annotations

from unittest.mock import patch

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from gld_ros.geometry import ray_pose
from gld_ros.networks.camera_head import ENCODING, TRUNK_EPS, camera_mlp, camera_trunk, rigid


class CameraEncoder(nn.Module):
    """DA3's `cam_enc`: known cameras to the tokens that replace its learned camera tokens. width: C of the encoder."""

    def __init__(self, width: int):
        super().__init__()
        self.pose_branch = camera_mlp(ENCODING, width // 2, width)
        self.token_norm = nn.LayerNorm(width, eps=TRUNK_EPS)
        self.trunk = camera_trunk(width)
        self.trunk_norm = nn.LayerNorm(width, eps=TRUNK_EPS)

    def forward(self, c2w: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens (B, V, C) of poses c2w (B, V, 4, 4) and pixel intrinsics K (B, V, 3, 3) of (H, W) images.

        DA3 was trained with the first view as the world and translations divided by the lower median of the distances
        of all views, the first included, from the first, at least 0.1: scaling is the caller's.
        """
        encoding = encode_camera(c2w.float(), K.float(), size)
        tokens = self.pose_branch(encoding.to(self.token_norm.weight.dtype))
        return self.trunk_norm(self.trunk(self.token_norm(tokens)))


class CameraDecoder(nn.Module):
    """DA3's `cam_dec`: camera tokens of the last level to c2w encodings. channels: 2C of a level."""

    def __init__(self, channels: int):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU()
        )
        self.fc_t = nn.Linear(channels, 3)
        self.fc_qvec = nn.Linear(channels, 4)
        self.fc_fov = nn.Sequential(nn.Linear(channels, 2), nn.ReLU())

    def forward(self, tokens: Tensor) -> Tensor:
        """c2w encodings (B, V, 9), float32, of raw camera tokens (B, V, 2C); the quaternion has any norm."""
        x = self.backbone(tokens)
        return torch.cat([self.fc_t(x), self.fc_qvec(x), self.fc_fov(x)], dim=-1).float()


def encode_camera(pose: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., 9) of rigid matrices pose (..., 3 or 4, 4) and pixel intrinsics K (..., 3, 3) of (H, W) images."""
    fov = torch.stack([size[0] / 2 / K[..., 1, 1], size[1] / 2 / K[..., 0, 0]], dim=-1).atan() * 2
    rotations = Rotation.from_matrix(pose[..., :3, :3].reshape(-1, 3, 3).numpy())
    quaternion = torch.from_numpy(rotations.as_quat(canonical=True)).to(fov).reshape(*fov.shape[:-1], 4)
    return torch.cat([pose[..., :3, 3], quaternion, fov], dim=-1)


def da3_cameras_from_rays(rays: Tensor, confidence: Tensor | None, size: tuple[int, int]) -> ray_pose.RayCameras:
    """`cameras_from_rays` with the official split of R K^-1, which takes K^-1 for lower triangular.

    That holds for a principal point in the middle of the image alone: R is 6 degrees off for one at 0.58 of the width.
    """

    def split(fit: Tensor) -> tuple[Tensor, Tensor]:
        # QR of the columns in reverse; the factor is then lower triangular.
        rotation, inner = (x.flip(-1) for x in torch.linalg.qr(fit.flip(-1)))
        inner = inner.flip(-2)
        signs = inner.diagonal(dim1=-2, dim2=-1).sign()
        rotation, inner = rotation * signs[..., None, :], inner * signs[..., :, None]
        inner = inner / inner[..., 2:, 2:]
        K = torch.diag_embed(1 / inner.diagonal(dim1=-2, dim2=-1))
        K[..., :2, 2] = inner[..., 2, :2]
        return rotation, K

    with patch.object(ray_pose, "_split", split):
        return ray_pose.cameras_from_rays(rays, confidence, size)


def gld_cameras_from_rays(
    rays: Tensor, confidence: Tensor | None, size: tuple[int, int] | None, stride: int = 4
) -> tuple[Tensor, Tensor]:
    """The pose solve of the official GLD evaluation, quirks included: c2w (B, V, 4, 4), one K (B, 3, 3) a scene.

    rays, confidence as in `cameras_from_rays`; every `stride`-th row and column is used. size: (H, W) of the image;
    None leaves K in cells of the ray map. Quirks: cells count as if their centres had whole numbers, so that the
    principal point comes out half a cell short; confidence weighs both sides of the equations and so acts squared;
    rotations are relative to view 0 while centres stay in the rays' frame; K is not made upper triangular.
    """
    h, w = rays.shape[2:4]
    rays = rays.double()
    weights = torch.ones_like(rays[..., 0]) if confidence is None else confidence.double()
    rows, columns = (torch.arange(0, n, stride, device=rays.device, dtype=torch.float64) for n in (h, w))
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    cells = torch.stack([u, v, torch.ones_like(u)], dim=-1).flatten(0, 1)
    used, weight = rays[:, :, ::stride, ::stride, :3].flatten(2, 3), weights[:, :, ::stride, ::stride].flatten(2, 3)
    fit = torch.linalg.lstsq(weight[..., None] * cells, weight[..., None] * used).solution.transpose(-1, -2)
    inverse = torch.linalg.inv(fit[:, 0])
    K = inverse / inverse[:, 2:, 2:]
    if size is not None:
        K = K * K.new_tensor([size[1] / w, size[0] / h, 1.0])[:, None]
    centre = (rays[..., 3:] * weights[..., None]).sum(dim=(2, 3)) / weights.sum(dim=(2, 3))[..., None]
    # The rotations nearest to the solutions in the least-squares sense.
    left, _, right = torch.linalg.svd(fit @ inverse[:, None])
    signs = torch.ones_like(centre)
    signs[..., 2] = torch.linalg.det(left @ right)
    return rigid(left * signs[..., None, :] @ right, centre), K
