# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Small models with random weights, and requests for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import look_at
from gld_ros.networks.configs import ModelConfig, RGBDecoderConfig, StemConfig
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.released import GLD_DA3, GLD_VGGT
from gld_ros.views import SourceView

Module = TypeVar("Module", bound=torch.nn.Module)
STAGE = {"width": 32, "depth": 2, "heads": 2, "head_width": 48, "head_depth": 1, "head_heads": 2}
VGGT_STAGE = STAGE | {"head_width": 64, "head_heads": 2}


def shaken(module: Module, by: float = 0.1) -> Module:
    """The module with every parameter moved, so that nothing is zero as at initialisation; in eval mode."""
    for parameter in module.parameters():
        parameter.data += by * torch.randn_like(parameter)
    return module.eval()


def tiny(family: str) -> GLDNetworks:
    """The released structure at a few thousand parameters; the latents are what 2 steps make of noise."""
    torch.manual_seed(0)
    released, stage = (GLD_DA3, STAGE) if family == "da3" else (GLD_VGGT, VGGT_STAGE)
    encoder = replace(released.encoder, width=32, heads=2, position_grid=5)
    if family == "vggt":
        encoder = replace(encoder, stem=StemConfig(depth=1, heads=2), schedule="LG" * 4, taps=(1, 3, 5, 7))
    config = replace(
        released,
        encoder=encoder,
        dpt=replace(released.dpt, features=16, out_channels=(16, 16, 16, 16), hidden=8),
        rgb=RGBDecoderConfig(width=32, depth=1, heads=2, hidden=64, base_grid=6),
        level1=replace(released.level1, **stage),
        level0=replace(released.level0, **stage, level1_channels=64),
        flow=replace(released.flow, steps=2),
        long_side=56,
    )
    return shaken(GLDNetworks(config))


def medium() -> ModelConfig:
    """The released structure at a size whose memory can be measured: DA3-Small's encoder, narrower stages."""
    stage = {"width": 384, "heads": 8, "head_width": 1024, "head_heads": 8, "depth": 1, "head_depth": 1}
    encoder = replace(GLD_DA3.encoder, width=384, heads=6)
    return replace(GLD_DA3, encoder=encoder, level1=replace(GLD_DA3.level1, **stage))


def views(width=80, height=60) -> tuple[list[SourceView], list[Camera]]:
    """Two sources of noise that look at one point, and the camera of a target between them."""
    K = np.array([[70.0, 0, 40], [0, 70, 30], [0, 0, 1]])
    cameras = [Camera(K, look_at(np.array([x, -2.0, 0.2 * x]), np.zeros(3)), width, height) for x in (-0.3, 0.3, 0.0)]
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for _ in range(2)]
    return [SourceView(i, c, stamp=k) for k, (i, c) in enumerate(zip(images, cameras, strict=False))], cameras[2:]
