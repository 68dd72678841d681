# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The stage that trains posed depth alone, on pictures changed as real cameras do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.data.augment import photometric, reframed
from gld_ros.data.clips import ClipBatch
from gld_ros.data.room_views import BUCKETS
from gld_ros.geometry.rays import exact
from gld_ros.networks.gld import GLDNetworks
from gld_ros.training.losses import matching_loss
from gld_ros.training.stage import Stage

#: Shares of the steps that see 2, 3 and 4 sources.
SOURCES = (0.4, 0.25, 0.35)


class DepthStage(Stage):
    """Posed depth alone; the encoder is frozen.

    Its batches have at least four views a scene and depth that is NaN where no sensor measured it. augmented: share of
    the scenes whose pictures are changed as real cameras do. sizes: (W, H) that the scenes are cropped and zoomed to,
    one of them a step; the batch's pictures should be about twice as large.
    """

    frozen = ("encoder.",)

    def __init__(self, net: GLDNetworks, augmented: float, sizes: Sequence[tuple[int, int]] = BUCKETS):
        super().__init__()
        self.encoder, self.matching = net.encoder.requires_grad_(False), net.matching
        self.augmented, self.sizes = augmented, tuple(sizes)

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Losses of one batch: two to four sources of a scene, and the fewer scenes the more sources."""
        detail, K, c2w, depth = self.draw(batch)
        detail = photometric(recoloured(detail), self.augmented)
        images = F.avg_pool2d(detail.flatten(0, 1), 2).unflatten(0, K.shape[:2])
        with torch.no_grad():
            level = self.encoder(images)[3]
            tokens = self.encoder.to_decoder(level)
        first, second = self.matching.both(images, K, c2w, tokens, level.grid)
        losses = matching_loss(first, second, depth)
        with torch.no_grad():
            losses["_abs_rel"] = (second.depth / depth - 1).abs().nanmean()
        return losses

    def draw(self, batch: ClipBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images of twice the size, K, c2w and depth of some views of each scene.

        The poses have the small errors of measured ones.
        """
        assert batch.depth is not None
        count = 2 + int(torch.multinomial(torch.tensor(SOURCES), 1))
        views = torch.randperm(batch.images.shape[1])[:count].tolist()
        scenes = max(1, 2 * len(batch) // count)
        images, K, c2w, depth = (x[:scenes, views] for x in (batch.images, batch.K, batch.c2w, batch.depth))
        size = self.sizes[int(torch.randint(len(self.sizes), ()))]
        images, K, c2w, depth = reframed(images, K, c2w, depth, size, detail=2)
        return images, K, jolted(c2w), depth


def recoloured(images: Tensor, share: float = 0.3) -> Tensor:
    """Views (B, V, 3, H, W) 0..1, a `share` of the scenes with channels swapped, half of them darker or brighter."""
    B, device = images.shape[0], images.device
    swapped = images[:, :, torch.randperm(3, device=device)]
    images = torch.where(torch.rand(B, 1, 1, 1, 1, device=device) < share, swapped, images)
    curve = (0.35 * torch.randn(B, 1, 1, 1, 1, device=device)).exp()
    return torch.where(torch.rand(B, 1, 1, 1, 1, device=device) < 0.5, images.clamp_min(1e-4) ** curve, images)


@exact
def jolted(c2w: Tensor, degrees: float = 0.1) -> Tensor:
    """Poses (B, V, 4, 4) turned by small angles, so that matches miss their lines as with measured poses.

    degrees: the deviation of the angles of the worst scenes.
    """
    strength = torch.rand(c2w.shape[0], 1, 1, device=c2w.device) * math.radians(degrees)
    x, y, z = (strength * torch.randn(*c2w.shape[:2], 3, device=c2w.device)).unbind(dim=-1)
    zero = torch.zeros_like(x)
    turn = torch.stack([zero, -z, y, zero, z, zero, -x, zero, -y, x, zero, zero], dim=-1).unflatten(-1, (3, 4))
    turn = torch.cat([turn, torch.zeros_like(turn[..., :1, :])], dim=-2)
    return c2w @ torch.linalg.matrix_exp(turn)
