# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras to tokens and tokens to cameras: DA3's encoder and decoder, VGGT's head (spec models.md A4, A5 and C).

Cameras are the 9 numbers of `geometry.pose_encoding`, float32 whatever the network's dtype.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.geometry.pose_encoding import encode_camera
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
