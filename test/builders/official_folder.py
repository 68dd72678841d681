# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Folders in the official layout, filled with the golden recipe's weights (test/golden/recipe.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from golden.recipe import tensor_for
from safetensors.torch import save_file
from torch import Tensor, nn

from gld_ros.networks.configs import ModelConfig, RGBDecoderConfig, StemConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.dpt import DualDPT
from gld_ros.networks.encoder import GeometryEncoder
from gld_ros.networks.released import MODELS
from gld_ros.networks.rgb_decoder import RGBDecoder
from gld_ros.plain import to_dict
from gld_ros.weights.folder import KeyNames
from gld_ros.weights.official_layout import STAGE_FILES, vggt_block

#: Salts of the golden end-to-end fixtures (end_to_end, end_to_end_vggt).
SALTS = {
    "da3": {"level1": "level1/", "level0": "cascade/", "rgb": "mae/", "dpt": "dpt/"},
    "vggt": {"level1": "vggt_e2e_level1/", "level0": "vggt_e2e_cascade/", "rgb": "vggt_mae/", "dpt": ""},
}


def fixture_config(kind: str = "da3") -> ModelConfig:
    """The end-to-end fixtures' model: full-size encoder and geometry head, toy diffusion stages and RGB decoder."""
    config = MODELS[f"gld-{kind}"]
    rgb = RGBDecoderConfig(width=64, depth=2, heads=4, hidden=128, base_grid=36)
    if kind == "da3":
        toy = {"width": 64, "heads": 4, "head_width": 128, "head_heads": 4}
        level1, level0 = ({"depth": 3, "head_depth": 2}, {"depth": 2, "head_depth": 1})
    else:
        toy = {"width": 64, "heads": 4, "head_width": 2048, "head_heads": 16, "mlp_ratio": 0.25}
        level1 = level0 = {"depth": 2, "head_depth": 1}
    return replace(
        config,
        rgb=rgb,
        level1=replace(config.level1, **toy, **level1),
        level0=replace(config.level0, **toy, **level0),
    )


def small_config(kind: str = "da3") -> ModelConfig:
    """`fixture_config` with a small encoder and head as well: a few MB."""
    config = fixture_config(kind)
    dpt = replace(config.dpt, features=16, out_channels=(8, 16, 24, 32))
    encoder = replace(config.encoder, width=64, heads=1, position_grid=5)
    if kind == "vggt":
        encoder = replace(encoder, stem=StemConfig(depth=2, heads=1), schedule="LG" * 4, taps=(1, 3, 5, 7))
    level0 = replace(config.level0, level1_channels=encoder.channels)
    level1 = config.level1
    if kind == "vggt":
        level1, level0 = (replace(c, head_width=128, head_heads=4) for c in (level1, level0))
    return replace(config, encoder=encoder, dpt=dpt, level1=level1, level0=level0)


def recipe_tensors(net: nn.Module, part: KeyNames | None = None, salt: str = "") -> dict[str, Tensor]:
    """Published key -> the recipe's weight, for every entry of a network (tables as the network builds them)."""
    part = part or KeyNames()
    made = {}
    for key, value in net.state_dict().items():
        array = tensor_for(part.key(key), value.shape, salt)
        made[part.key(key)] = value.detach().clone() if array is None else torch.from_numpy(np.asarray(array))
    return made


def write_official_folder(
    folder: Path,
    kind: str = "da3",
    config: ModelConfig | None = None,
    statistics: Mapping[str, np.ndarray] | None = None,
    unread_heads: bool = True,
) -> ModelConfig:
    """Write a model of recipe weights as the released one is published; returns its configuration.

    kind: "da3" or "vggt"; config: `small_config(kind)` by default, or `fixture_config(kind)` for the golden end-to-end
    fixtures; statistics: the golden model_stats.npz, else random ones; unread_heads: with something like the camera
    networks and the head that the encoders' own files have too. Sizes go to config.json.
    """
    config = config or small_config(kind)
    salts, channels, patch = SALTS[kind], config.encoder.channels, config.encoder.patch
    encoder = GeometryEncoder(config.encoder)
    dpt = DualDPT(channels, config.dpt)
    if kind == "da3":
        tensors = recipe_tensors(encoder, KeyNames("model.backbone.pretrained."))
        if unread_heads:
            tensors |= {f"model.{name}.weight": torch.zeros(3) for name in ("head.norm", "cam_enc.fc", "cam_dec.fc")}
        save(
            folder / "pretrained_models/da3/dpt_decoder.pt",
            {"model": recipe_tensors(dpt, KeyNames("decoder."), salts["dpt"])},
        )
    else:
        tensors = recipe_tensors(encoder, KeyNames("aggregator.", vggt_block)) | recipe_tensors(
            dpt, KeyNames("depth_head.")
        )
        tensors |= {key: torch.zeros(3) for key in ("aggregator.patch_embed.mask_token", "camera_head.norm.bias")}
    del encoder
    path = folder / f"pretrained_models/{kind}/model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    del tensors
    rgb = RGBDecoder(channels, patch, config.rgb)
    where = "pretrained_models" if kind == "da3" else "pretrained_models/vggt"
    save(folder / where / "mae_decoder.pt", {"ema": recipe_tensors(rgb, KeyNames("decoder."), salts["rgb"])})
    for stage in ("level1", "level0"):
        net = MultiViewDiT(channels, patch, getattr(config, stage))
        save(folder / STAGE_FILES[stage].format(kind=kind), {"ema": recipe_tensors(net, salt=salts[stage])})
    write_statistics(folder / "model_stats" / kind, kind, channels, statistics)
    (folder / "config.json").write_text(json.dumps({"model": to_dict(config)}, indent=1))
    return config


def write_statistics(folder: Path, kind: str, channels: int, given: Mapping[str, np.ndarray] | None) -> None:
    """The files of latent statistics, given or random."""
    generator = torch.Generator().manual_seed(0)
    names = {"level": "normalization_stats_level"} | (
        {"special_level": "special_stats_level"} if kind == "vggt" else {}
    )
    for ours, published in names.items():
        for k in (0, 1):
            if given is not None:
                mean, var = (torch.tensor(given[f"{kind}.{ours}{k}.{what}"]) for what in ("mean", "var"))
            else:
                mean = 0.3 * torch.randn(channels, generator=generator)
                var = 0.2 + torch.rand(channels, generator=generator)
            mean, var = mean.reshape(1, channels, 1, 1), var.reshape(1, channels, 1, 1)
            count = 10000 if ours == "special_level" else 2738000
            content = {"mean": mean, "var": var, "std": var.sqrt(), "count": count, "level": k}
            save(folder / f"{published}{k}.pt", content)


def save(path: Path, content: dict) -> None:
    """torch.save, with the folders on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
