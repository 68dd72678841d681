"""VGGT's aggregator against the official code: toy size with intermediate states, and full size (fixture k)."""

from dataclasses import replace

import pytest
import torch
from oracle import recipe

from gld_ros.models.configs import StemConfig
from gld_ros.models.encoder import GeometryEncoder, Level, position_table
from gld_ros.models.official import Part, vggt_block
from gld_ros.models.released import VGGT_1B

AGGREGATOR = Part("aggregator.", vggt_block)
BOUND = 1e-5
TOY = replace(
    VGGT_1B, width=64, heads=4, position_grid=8, stem=StemConfig(depth=3, heads=4), schedule="LG" * 8, taps=(3, 7, 11, 15)
)


@pytest.fixture(scope="module")
def toy() -> GeometryEncoder:
    return recipe(GeometryEncoder(TOY), AGGREGATOR, "vggt_toy/")


@pytest.fixture(scope="module")
def captured():
    """Call hook(module, name) to keep a module's output, or its input with a leading '<'."""
    kept: dict[str, torch.Tensor] = {}

    def hook(module, name):
        if name.startswith("<"):
            return module.register_forward_pre_hook(lambda _, args: kept.__setitem__(name, args[0]))
        return module.register_forward_hook(lambda _, __, out: kept.setdefault(name, out))

    hook.kept = kept
    return hook


@pytest.mark.parametrize("case", ["A", "B", "C"])
def test_toy_levels(golden, compare, toy, case):
    fixture = golden("vggt_encoder")
    images = fixture[f"toy.{case}.images_u8"].float() / 255
    every = 1 if case == "A" else 2
    grid = images.shape[-2] // 14, images.shape[-1] // 14
    stem = toy.embed(images, grid)[:, :, 5:].flatten(0, 1)
    compare(fixture, f"toy.{case}.stem_patchtokens", stem[..., ::every], BOUND)
    for k, level in enumerate(toy(images)):
        compare(fixture, f"toy.{case}.level{k}", level.tokens[..., ::every], BOUND)
