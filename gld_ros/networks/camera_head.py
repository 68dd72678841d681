# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""VGGT's camera head and its encoding of cameras (spec models.md C).

Nine numbers, float32 whatever the network's dtype: [translation (3), quaternion x y z w (4), vertical and horizontal
field of view (rad)] of a rigid pose, w2c in VGGT, c2w in DA3. The principal point is not part of them.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.geometry.rays import exact
from gld_ros.networks.layers import Block

ENCODING = 9
#: Both published trunks: 16 heads whatever the width, LayerNorms of 1e-5, LayerScale from 0.01.
TRUNK_DEPTH, TRUNK_HEADS, TRUNK_EPS, TRUNK_SCALE = 4, 16, 1e-5, 0.01


def camera_trunk(width: int) -> nn.Sequential:
    """Transformer blocks that attend over the views: (B, V, C) -> (B, V, C)."""
    return nn.Sequential(
        *(Block(width, TRUNK_HEADS, qk_norm=False, eps=TRUNK_EPS, layer_scale=TRUNK_SCALE) for _ in range(TRUNK_DEPTH))
    )


def camera_mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, exact GELU, Linear, under published names."""
    layers = [("fc1", nn.Linear(inputs, hidden)), ("act", nn.GELU()), ("fc2", nn.Linear(hidden, outputs))]
    return nn.Sequential(OrderedDict(layers))


class CameraHead(nn.Module):
    """VGGT's `camera_head`: refines the w2c encodings of all views together. channels: 2C of a level."""

    def __init__(self, channels: int):
        super().__init__()
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, ENCODING))
        self.embed_pose = nn.Linear(ENCODING, channels)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(channels, 3 * channels))
        self.token_norm = nn.LayerNorm(channels, eps=TRUNK_EPS)
        self.adaln_norm = nn.LayerNorm(channels, eps=1e-6, elementwise_affine=False)
        self.trunk = camera_trunk(channels)
        self.trunk_norm = nn.LayerNorm(channels, eps=TRUNK_EPS)
        self.pose_branch = camera_mlp(channels, channels // 2, ENCODING)

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


def rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    """(..., 4, 4) of rotations (..., 3, 3) and translations (..., 3)."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    return torch.cat([top, top.new_tensor([0.0, 0, 0, 1]).expand(*top.shape[:-2], 1, 4)], dim=-2)


@exact
def decode_camera(encoding: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pose (..., 4, 4) and centred pixel intrinsics K (..., 3, 3) of (H, W) images from (..., 9).

    As in DA3, tangents below 1e-6 count as 1e-6, so that K stays finite for a field of view of 0.
    """
    encoding = encoding.detach()
    half = encoding.new_tensor([size[0] / 2, size[1] / 2])
    focal = half / (encoding[..., 7:9] / 2).tan().clamp_min(1e-6)
    K = torch.diag_embed(torch.stack([focal[..., 1], focal[..., 0], torch.ones_like(focal[..., 0])], dim=-1))
    K[..., 0, 2], K[..., 1, 2] = half[1], half[0]
    return rigid(rotation_of(encoding[..., 3:7]), encoding[..., :3]), K


def rotation_of(quaternion: Tensor) -> Tensor:
    """(..., 3, 3) of quaternions x y z w (..., 4) of any norm but 0."""
    x, y, z, w = (quaternion.double() / quaternion.double().norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3)).to(quaternion)
