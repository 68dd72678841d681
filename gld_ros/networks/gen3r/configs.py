# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Configurations of Gen3R's networks; the defaults are those of the released model (spec gen3r.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

from gld_ros.networks.configs import DPTConfig, EncoderConfig
from gld_ros.networks.released import VGGT_1B, VGGT_HEAD


@dataclass(frozen=True)
class AdapterConfig:
    """The geometry adapter: VGGT's tokens to latents and back."""

    #: Channels of a token map: four levels and the camera token, each of the encoder's channels.
    tokens: int = 10240
    #: The first and the last convolution go between token maps and so many times fewer channels.
    reduction: int = 10
    width: int = 128
    latent: int = 16
    #: compat: the decoder's maps are always 40 x 40, whatever the latent's size. Otherwise 4/7 of the latent's size.
    fixed_grid: bool = True


@dataclass(frozen=True)
class TransformerCompat:
    """Quirks of the released transformer."""

    #: The joined rotary positions are used only where the joined map is not square; plain ones (0 .. 2w - 1) otherwise.
    plain_positions_if_square: bool = True


@dataclass(frozen=True)
class TransformerConfig:
    """The diffusion transformer over [appearance | geometry]: Wan 2.1 Fun 1.3B with control adapter."""

    width: int = 1536
    layers: int = 30
    heads: int = 12
    hidden: int = 8960
    text_width: int = 4096
    #: Rows of text tokens; shorter texts are padded with zeros, which are attended like the others.
    text_rows: int = 512
    image_width: int = 1280
    latent: int = 16
    #: Condition latents and mask.
    condition: int = 20
    #: Ray channels: six for each of four frames.
    rays: int = 24
    compat: TransformerCompat = field(default_factory=TransformerCompat)


@dataclass(frozen=True)
class TextConfig:
    """The text encoder, umt5-xxl. tokens: the size of its vocabulary."""

    tokens: int = 256384
    width: int = 4096
    heads: int = 64
    hidden: int = 10240
    layers: int = 24
    buckets: int = 32


@dataclass(frozen=True)
class ImageTowerConfig:
    """CLIP's image tower, ViT-H/14 of open-clip XLM-R."""

    width: int = 1280
    layers: int = 32
    heads: int = 16
    hidden: int = 5120
    patch: int = 14
    size: int = 224


@dataclass(frozen=True)
class Gen3RConfig:
    """A Gen3R. frames, size: of the clips that it was trained for, size in pixels each way. random_weights: it was
    never trained, as in tests."""

    name: str = "gen3r"
    encoder: EncoderConfig = VGGT_1B
    head: DPTConfig = VGGT_HEAD
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    #: Channels of the video VAE at full resolution.
    vae_width: int = 96
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    text: TextConfig = field(default_factory=TextConfig)
    image: ImageTowerConfig = field(default_factory=ImageTowerConfig)
    frames: int = 49
    size: int = 560
    #: Of the time grid.
    shift: float = 2.0
    steps: int = 50
    guidance_scale: float = 5.0
    negative_prompt: str = "bad detailed"
    random_weights: bool = False
