# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the RGB decoder on a frozen encoder (spec gld.md, Training): L1, LPIPS, an adversarial loss."""

from __future__ import annotations

import torch
from torch import Tensor

from gld_ros.data.clips import ClipBatch
from gld_ros.errors import InvalidRequest
from gld_ros.metrics.lpips import LPIPS
from gld_ros.networks.gld import GLDNetworks
from gld_ros.training.adversarial import Adversary
from gld_ros.training.encoder_stage import ROWS, decoder_features
from gld_ros.training.losses import level_dropout
from gld_ros.training.records import sheet
from gld_ros.training.stage import Stage


class RGBDecoderStage(Stage):
    """The decoder gets the four levels, each left out of a view with probability `level_dropout`, never all.

    perceptual: None for no LPIPS. adversary: None for no adversarial loss. Raises InvalidRequest for a decoder that
    paints at another size than was encoded: its pictures would have nothing to be compared with.
    """

    frozen = ("encoder.", "perceptual.", "adversary.discriminator.trunk.")

    def __init__(
        self,
        net: GLDNetworks,
        level_dropout: float,
        propagation: float = 0.0,
        perceptual: LPIPS | None = None,
        perceptual_weight: float = 1.0,
        adversary: Adversary | None = None,
    ):
        super().__init__()
        if net.config.rgb.upscale != 1:
            raise InvalidRequest(
                f"rgb.upscale is {net.config.rgb.upscale}, expected 1: `gld train mini` trains decoders that enlarge"
            )
        self.encoder, self.rgb = net.encoder.requires_grad_(False), net.rgb
        self.rgb.decoder_pos_embed.requires_grad_(False)
        self.perceptual, self.perceptual_weight, self.adversary = perceptual, perceptual_weight, adversary
        self.level_dropout, self.propagation = level_dropout, propagation
        self.step = 0

    def begin_step(self, step: int) -> None:
        self.step = step

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        images = batch.images
        with torch.no_grad():
            features, grid = decoder_features(self.encoder, images, bool(torch.rand(()) < self.propagation))
        made = self.rgb(level_dropout(features, self.level_dropout), grid).float().flatten(0, 1)
        real = images.flatten(0, 1)
        losses = {"l1": (made - real).abs().mean()}
        if self.perceptual is not None:
            stages = self.perceptual(made, real)
            losses["lpips"] = self.perceptual_weight * torch.stack([x.float().mean() for x in stages]).sum()
        if self.adversary is not None:
            reconstruction = torch.stack(list(losses.values())).sum()
            losses |= self.adversary.losses(made, real, reconstruction, self.rgb.decoder_pred.weight, self.step)
        return losses

    def sheet(self, batch: ClipBatch) -> Tensor:
        """For two scenes: the pictures, and what is decoded of them from all levels."""
        images = batch.images[:ROWS]
        features, grid = decoder_features(self.encoder, images, False)
        decoded = self.rgb(features, grid)
        return sheet([row[b] for b in range(len(images)) for row in (images, decoded)])
