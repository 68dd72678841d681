# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of DA3 and VGGT that GLD does not use: camera networks, the point head, and the official pose solves.

Camera networks read and write 9 numbers, float32 whatever the network's dtype (spec models.md A4, A5 and C):
[translation (3), quaternion x y z w (4), vertical and horizontal field of view (rad)] of a rigid pose, c2w in DA3, w2c
in VGGT. The principal point is not part of them.
"""

from __future__ import annotations

from collections import OrderedDict
from unittest.mock import patch

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.geometry import ray_pose
from gld_ros.networks.configs import DPTConfig
from gld_ros.networks.dpt import DualDPT
from gld_ros.networks.layers import Block

ENCODING = 9
#: Both published trunks: 16 heads whatever the width, LayerNorms of 1e-5, LayerScale from 0.01.
TRUNK_DEPTH, TRUNK_HEADS, TRUNK_EPS, TRUNK_SCALE = 4, 16, 1e-5, 0.01


def _trunk(width: int) -> nn.Sequential:
    """Transformer blocks that attend over the views: (B, V, C) -> (B, V, C)."""
    return nn.Sequential(
        *(Block(width, TRUNK_HEADS, qk_norm=False, eps=TRUNK_EPS, layer_scale=TRUNK_SCALE) for _ in range(TRUNK_DEPTH))
    )


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    layers = [("fc1", nn.Linear(inputs, hidden)), ("act", nn.GELU()), ("fc2", nn.Linear(hidden, outputs))]
    return nn.Sequential(OrderedDict(layers))


class CameraEncoder(nn.Module):
    """DA3's `cam_enc`: known cameras to the tokens that replace its learned camera tokens. width: C of the encoder."""

    def __init__(self, width: int):
        super().__init__()
        self.pose_branch = _mlp(ENCODING, width // 2, width)
        self.token_norm = nn.LayerNorm(width, eps=TRUNK_EPS)
        self.trunk = _trunk(width)
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


class CameraHead(nn.Module):
    """VGGT's `camera_head`: refines the w2c encodings of all views together. channels: 2C of a level."""

    def __init__(self, channels: int):
        super().__init__()
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, ENCODING))
        self.embed_pose = nn.Linear(ENCODING, channels)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(channels, 3 * channels))
        self.token_norm = nn.LayerNorm(channels, eps=TRUNK_EPS)
        self.adaln_norm = nn.LayerNorm(channels, eps=1e-6, elementwise_affine=False)
        self.trunk = _trunk(channels)
        self.trunk_norm = nn.LayerNorm(channels, eps=TRUNK_EPS)
        self.pose_branch = _mlp(channels, channels // 2, ENCODING)

    def forward(self, tokens: Tensor, iterations: int = 4) -> Tensor:
        """w2c encodings (iterations, B, V, 9), float32, of raw camera tokens (B, V, 2C) of the last level.

        The last iteration is the answer. What is refined is the sum of the steps; only reported fields of view are
        cut off at 0.
        """
        tokens = self.token_norm(tokens)
        total = tokens.new_zeros(*tokens.shape[:2], ENCODING, dtype=torch.float32)
        known = self.empty_pose_tokens.expand_as(total)
        reported = []
        for _ in range(iterations):
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(known)).chunk(3, dim=-1)
            x = tokens + gate * (self.adaln_norm(tokens) * (1 + scale) + shift)
            total = total + self.pose_branch(self.trunk_norm(self.trunk(x))).float()
            known = total.to(tokens.dtype)
            reported.append(torch.cat([total[..., :7], F.relu(total[..., 7:])], dim=-1))
        return torch.stack(reported)


class PointDPT(DualDPT):
    """VGGT's `point_head`: points in the first camera's frame + confidence."""

    def __init__(self, channels: int, config: DPTConfig):
        super().__init__(channels, config)
        self.scratch.output_conv2[2] = nn.Conv2d(config.hidden, 4, 1)

    def forward(self, levels: list[Tensor], grid: tuple[int, int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Points (B, V, H, W, 3) in model units and their confidence (B, V, H, W) of the levels as in `DualDPT`."""
        x = self.maps(self.laterals(levels, grid, size[1] / size[0]), size).unflatten(0, levels[0].shape[:2])
        points = x[:, :, :3].permute(0, 1, 3, 4, 2)
        return points.sign() * points.abs().expm1(), 1 + x[:, :, 3].exp()


def rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    """(..., 4, 4) of rotations (..., 3, 3) and translations (..., 3)."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    return torch.cat([top, top.new_tensor([0.0, 0, 0, 1]).expand(*top.shape[:-2], 1, 4)], dim=-2)


def encode_camera(pose: Tensor, K: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., 9) of rigid matrices pose (..., 3 or 4, 4) and pixel intrinsics K (..., 3, 3) of (H, W) images."""
    fov = torch.stack([size[0] / 2 / K[..., 1, 1], size[1] / 2 / K[..., 0, 0]], dim=-1).atan() * 2
    rotations = Rotation.from_matrix(pose[..., :3, :3].reshape(-1, 3, 3).numpy())
    quaternion = torch.from_numpy(rotations.as_quat(canonical=True)).to(fov).reshape(*fov.shape[:-1], 4)
    return torch.cat([pose[..., :3, 3], quaternion, fov], dim=-1)


def decode_camera(encoding: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pose (..., 4, 4) and centred pixel intrinsics K (..., 3, 3) of (H, W) images from (..., 9).

    As in DA3, tangents below 1e-6 count as 1e-6, so that K stays finite for a field of view of 0.
    """
    encoding = encoding.detach()
    half = encoding.new_tensor([size[0] / 2, size[1] / 2])
    focal = half / (encoding[..., 7:9] / 2).tan().clamp_min(1e-6)
    K = torch.diag_embed(torch.stack([focal[..., 1], focal[..., 0], torch.ones_like(focal[..., 0])], dim=-1))
    K[..., 0, 2], K[..., 1, 2] = half[1], half[0]
    rotation = Rotation.from_quat(encoding[..., 3:7].reshape(-1, 4).double().numpy()).as_matrix()
    return rigid(torch.from_numpy(rotation).to(encoding).reshape(*encoding.shape[:-1], 3, 3), encoding[..., :3]), K


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
