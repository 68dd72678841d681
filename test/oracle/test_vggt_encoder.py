# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""VGGT's aggregator against the official code: toy size with intermediate states, and full size (fixture k)."""

import math
from dataclasses import replace

import pytest
import torch
from oracle import Call, recipe, watched
from torch import Tensor

from gld_ros.networks.configs import StemConfig
from gld_ros.networks.encoder import GeometryEncoder, Level, position_table
from gld_ros.networks.layers import rotate
from gld_ros.networks.released import VGGT_1B
from gld_ros.weights.folder import KeyNames
from gld_ros.weights.official_layout import vggt_block

BOUND = 1e-5
FIXTURE = "vggt_encoder"
S = VGGT_1B.specials
TOY_STEM = StemConfig(depth=3, heads=4)
TOY = replace(VGGT_1B, width=64, heads=4, position_grid=8, stem=TOY_STEM, schedule="LG" * 8, taps=(3, 7, 11, 15))


@pytest.fixture(scope="module")
def toy() -> GeometryEncoder:
    return recipe(GeometryEncoder(TOY), KeyNames("aggregator.", vggt_block), "vggt_toy/")


def grid_of(images: Tensor) -> tuple[int, int]:
    return images.shape[-2] // 14, images.shape[-1] // 14


def blocks(encoder: GeometryEncoder) -> dict[str, torch.nn.Module]:
    return {f"block{i}": block for i, block in enumerate(encoder.blocks)}


def layer(calls: dict[str, list[Call]], i: int, like: Tensor) -> Tensor:
    """What the i-th pair of blocks makes of each token (B, V, T, 2C), in the shape of a level."""
    pair = (calls[f"block{2 * i + j}"][0].result.reshape(*like.shape[:-1], -1) for j in (0, 1))
    return torch.cat(list(pair), dim=-1)


def positions(rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rows and columns (T, 2) that a rotary table was made for: its first frequency turns by a radian each."""
    angle = torch.atan2(rope[1], rope[0])[:, [0, rope[0].shape[1] // 2]] % (2 * math.pi)
    assert angle.max() < 6
    return angle


@pytest.mark.parametrize("case", ["A", "B", "C"])
def test_toy_levels(fixture, compare, toy, case):
    images = fixture.images(f"toy.{case}.images_u8")
    every = 1 if case == "A" else 2
    stem = toy.embed(images, grid_of(images))[:, :, S:].flatten(0, 1)
    compare(fixture, f"toy.{case}.stem_patchtokens", stem[..., ::every], BOUND)
    with watched(blocks(toy)) as calls:
        levels = toy(images)
    for k, level in enumerate(levels):
        compare(fixture, f"toy.{case}.level{k}", level.tokens[..., ::every], BOUND)
    norms = [layer(calls, i, levels[0].tokens).norm(dim=-1) for i in range(8)]
    compare(fixture, f"toy.{case}.all_layers_token_l2", torch.stack(norms), BOUND)


def test_toy_inner_states(fixture, compare, toy):
    """Of the second view and the first scene, in the first block of each kind."""
    modules = {"stem": toy.patch_embed.blocks[0], "frame": toy.blocks[0], "global": toy.blocks[1]}
    modules |= {f"{name}_attention": modules[name].attn for name in ("frame", "global")}
    modules |= {"q": toy.blocks[0].attn.q_norm, "k": toy.blocks[0].attn.k_norm}
    with watched(modules) as calls:
        levels = toy(fixture.images("toy.A.images_u8"))
    compare(fixture, "toy.A.stem_in_view0", calls["stem"][0].args[0][0], BOUND)
    tokens, rope = calls["frame"][0].args
    compare(fixture, "toy.A.tokens_in", tokens[:3], BOUND)
    compare(fixture, "toy.A.positions", positions(rope), BOUND)
    everywhere = calls["global"][0].args[1]
    assert torch.equal(positions(everywhere), positions(rope).repeat(3, 1))
    q, k = (calls[name][0].result[1] for name in "qk")
    compare(fixture, "toy.A.frame0_q_before_rope_view1", q, BOUND)
    compare(fixture, "toy.A.frame0_q_after_rope_view1", rotate(q, *rope), BOUND)
    compare(fixture, "toy.A.frame0_k_after_rope_view1", rotate(k, *rope), BOUND)
    compare(fixture, "toy.A.frame0_attn_out_view1", calls["frame_attention"][0].result[1], BOUND)
    compare(fixture, "toy.A.global0_attn_out_first_scene", calls["global_attention"][0].result[0], BOUND)
    pair = [calls[name][0].result.reshape(*levels[0].tokens.shape[:-1], -1) for name in ("frame", "global")]
    compare(fixture, "toy.A.layer0", torch.cat(pair, dim=-1)[0], BOUND)


@pytest.mark.parametrize(("grid", "every"), [((4, 5), 1), ((8, 8), 3), ((10, 12), 3)])
def test_toy_position_table(fixture, compare, toy, grid, every):
    """Smaller than the learned table, as learned, larger."""
    table = position_table(toy.patch_embed.pos_embed, grid, TOY.position_offset, TOY.position_antialias)
    compare(fixture, f"toy.pos_table_{grid[0]}x{grid[1]}", table[:, ::every], BOUND)


@pytest.mark.parametrize("grid", [(36, 36), (20, 36)])
def test_position_table(fixture, compare, vggt_1b, grid):
    learned, config = vggt_1b.patch_embed.pos_embed, VGGT_1B
    table = position_table(learned, grid, config.position_offset, config.position_antialias)
    compare(fixture, f"pos_table_{grid[0]}x{grid[1]}_tokens17_channels16", table[0, ::17, ::16], BOUND)


@pytest.fixture(scope="module")
def full(golden, vggt_1b) -> tuple[list[Level], dict[str, list[Call]]]:
    """The levels of the full-size part, and the calls of all blocks."""
    with watched(blocks(vggt_1b)) as calls:
        levels = vggt_1b(golden("vggt_encoder").images())
    return levels, calls


def test_tokens_before_the_blocks(fixture, compare, full):
    tokens, rope = full[1]["block0"][0].args
    compare(fixture, "stem_patchtokens_every8", tokens[:, S:, ::8], BOUND)
    compare(fixture, "stem_patchtokens_l2", tokens[:, S:].norm(dim=-1), BOUND)
    compare(fixture, "tokens_in_special_every4", tokens[:, :S, ::4], BOUND)
    compare(fixture, "positions", positions(rope), BOUND)


def test_levels(fixture, compare, full):
    for k, level in enumerate(full[0]):
        compare(fixture, f"raw_level{k}", level.tokens[..., fixture["channel_index"]], BOUND)
        compare(fixture, f"raw_level{k}_l2", level.tokens.norm(dim=-1), BOUND)


def test_every_pair_of_blocks(fixture, compare, full):
    levels, calls = full
    layers = [layer(calls, i, levels[0].tokens) for i in range(24)]
    compare(fixture, "layer0_every16", layers[0][..., ::16], BOUND)
    compare(fixture, "all_layers_token_l2", torch.stack(layers).norm(dim=-1), BOUND)


def test_propagation_of_patches_alone(fixture, compare, full, vggt_1b):
    """The learned special tokens in place of those of level 1."""
    level = full[0][1]
    learned = vggt_1b.special_tokens(*level.tokens.shape[:2]).repeat(1, 1, 1, 2)  # only the second half is read
    resumed = vggt_1b.resume(Level(torch.cat([learned, level.patch_tokens], dim=2), level.grid), 1)
    for k, made in enumerate(resumed, start=2):
        patches = made.patch_tokens.flatten(0, 1)[..., fixture["channel_index"][::2]]
        compare(fixture, f"propagate_true_level1_learned_specials_level{k}", patches, BOUND)
