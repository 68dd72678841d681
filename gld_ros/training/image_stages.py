# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Stages that train encoder, geometry head and RGB decoder on images."""

from __future__ import annotations

import torch
from torch import Tensor

from gld_ros.data.clips import ClipBatch
from gld_ros.errors import InvalidRequest
from gld_ros.generators.native import resize
from gld_ros.metrics.lpips import LPIPS
from gld_ros.networks.encoder import GeometryEncoder, Level
from gld_ros.networks.gld import BOUNDARY, GLDNetworks
from gld_ros.training.adversarial import Adversary
from gld_ros.training.losses import geometry_loss, level_dropout, matching_loss
from gld_ros.training.records import sheet
from gld_ros.training.stage import ROWS, Stage


class EncoderStage(Stage):
    """Depth and rays by the geometry head (and the posed depth, where the model has it), pictures by the RGB decoder.

    level_dropout: probability that the RGB decoder does not get a level of a view. propagation: share of the batches
    whose upper levels follow from the boundary as at inference.
    """

    has_unused_parameters = True  # tokens that others replace, heads of scales that are not used
    RGB_WEIGHT = 3.0

    def __init__(self, net: GLDNetworks, level_dropout: float, propagation: float):
        super().__init__()
        if net.config.dpt is None:
            raise InvalidRequest(f"model '{net.config.name}' has no geometry head (dpt), which this stage trains")
        self.encoder, self.dpt, self.rgb = net.encoder, net.dpt, net.rgb
        if net.config.warps:
            self.matching = net.matching
        self.level_dropout, self.propagation = level_dropout, propagation

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Losses of the drawn views."""
        if batch.depth is None or not torch.isfinite(batch.depth).all():
            raise InvalidRequest(f"{batch.names[0]}: the encoder's training needs the depth of every pixel")
        views, posed = self.draw(batch.images.shape[1])
        images, K, c2w, depth = (x[:, views] for x in (batch.images, batch.K, batch.c2w, batch.depth))
        propagated = self.propagation > 0 and bool(torch.rand(()) < self.propagation)
        features, grid = decoder_features(self.encoder, images, propagated)
        geometry = self.dpt(features, grid, images.shape[-2:])
        picture = self.paint(level_dropout(features, self.level_dropout), grid, images)
        losses = geometry_loss(geometry, depth, K, c2w)
        if hasattr(self, "matching") and posed > 1:
            pictures, intrinsics, poses, tokens = (x[:, :posed] for x in (images, K, c2w, features[3]))
            swept = self.matching.both(pictures, intrinsics, poses, tokens, grid)
            losses |= matching_loss(*swept, depth[:, :posed])
        return losses | {"rgb": self.RGB_WEIGHT * (picture - images).abs().mean()}

    def draw(self, V: int) -> tuple[list[int], int]:
        """One up to all of V views, and how many of them posed depth sees."""
        views = sorted(torch.randperm(V)[: int(torch.randint(1, V + 1, ()))].tolist())
        return views, len(views)

    def paint(self, features: list[Tensor], grid: tuple[int, int], like: Tensor) -> Tensor:
        """The painted picture, brought to the size of `like` (B, V, 3, H, W): the decoder may paint larger."""
        return resize(self.rgb(features, grid), (like.shape[-2], like.shape[-1]))

    def sheet(self, batch: ClipBatch) -> Tensor:
        """For two scenes: the pictures, what is decoded of them, the depth that is seen in them."""
        images = batch.images[:ROWS]
        features, grid = decoder_features(self.encoder, images, False)
        depth = self.dpt(features, grid, images.shape[-2:]).depth
        near = (depth.amin(dim=(1, 2, 3), keepdim=True) / depth)[:, :, None].expand(-1, -1, 3, -1, -1)
        return sheet(images, self.paint(features, grid, images), near)


class GeometryStage(EncoderStage):
    """Encoder, geometry head, posed depth and RGB decoder, trained together on two sources and one target."""

    def __init__(self, net: GLDNetworks, level_dropout: float):
        super().__init__(net, level_dropout, propagation=0.0)

    def draw(self, V: int) -> tuple[list[int], int]:
        """Both sources and one of the two targets; posed depth sees two views, as at test time, sometimes three."""
        return [0, 1, int(torch.randint(2, 4, ()))], 3 if torch.rand(()) < 0.25 else 2


class RGBDecoderStage(Stage):
    """The RGB decoder on a frozen encoder (spec gld.md, Training): L1, LPIPS, an adversarial loss.

    It gets the four levels, each left out of a view with probability `level_dropout`, never all.
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
        return sheet(images, self.rgb(*decoder_features(self.encoder, images, False)))


def decoder_features(
    encoder: GeometryEncoder, images: Tensor, propagated: bool, first: int = BOUNDARY
) -> tuple[list[Tensor], tuple[int, int]]:
    """Four levels (B, V, h * w, C) of images (B, V, 3, H, W) in decoder space, and the patch grid.

    propagated: levels above level `first` follow from it with, in every view, the camera token of the first view
    encoded alone, as they do of generated views (spec gld.md, Propagation).
    """
    levels = encoder(images)
    if propagated and encoder.config.stem is None:
        alone = encoder(images[:, :1], levels=first + 1)[first].camera
        camera = alone[:, :, None].expand(-1, images.shape[1], -1, -1)
        level = Level(torch.cat([camera, levels[first].patch_tokens], dim=2), levels[first].grid)
        levels = levels[: first + 1] + encoder.resume(level, first)
    return [encoder.to_decoder(level) for level in levels], levels[0].grid
