# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The latent space around full-size VGGT: packed special tokens, propagation, decoding (fixture l)."""

from dataclasses import replace

import pytest
import torch
from builders.official_folder import fixture_config
from oracle import assembled, given, golden_file, recipe

from gld_ros.networks.encoder import Level, map_to_tokens
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.rgb_decoder import RGBDecoder
from gld_ros.weights.folder import KeyNames

BOUND = 2e-5
FIXTURE = "vggt_gld"
CONFIG = fixture_config("vggt")
C, S = CONFIG.encoder.channels, CONFIG.encoder.specials


@pytest.fixture(scope="module")
def gld(statistics, vggt_1b, vggt_depth_head) -> GLDNetworks:
    """As released: the special tokens of level 0 are normalised with the statistics of level 1."""
    rgb = recipe(RGBDecoder(C, CONFIG.encoder.patch, CONFIG.rgb), KeyNames("decoder."), "vggt_mae/")
    return assembled(CONFIG, statistics, encoder=vggt_1b, dpt=vggt_depth_head, rgb=rgb)


@pytest.fixture(scope="module")
def own_statistics(statistics, vggt_1b) -> GLDNetworks:
    """Each level's special tokens with the statistics of that level."""
    compat = replace(CONFIG.compat, level1_special_statistics=False)
    return assembled(replace(CONFIG, compat=compat), statistics, encoder=vggt_1b)


@pytest.fixture(scope="module")
def levels(vggt_1b) -> list[Level]:
    return vggt_1b(golden_file("vggt_gld").images())


@pytest.mark.parametrize("k", [0, 1])
def test_latents(fixture, compare, own_statistics, gld, levels, k):
    channels = fixture["channel_index"]
    compare(fixture, f"raw_level{k}", levels[k].patch_tokens[0][..., channels], BOUND)
    compare(fixture, f"raw_special_level{k}", levels[k].special[0][..., channels], BOUND)
    latent = own_statistics.to_latent(levels[k], k)
    compare(fixture, f"packed_latent_level{k}", latent[0, :, channels, :, 0], BOUND)
    if k == 0:
        special = gld.to_latent(levels[0], 0)[0, :, channels, :S, 0]
        compare(fixture, "packed_special_level0_with_level1_special_stats", special, BOUND)
    else:
        assert torch.equal(gld.to_latent(levels[1], 1), latent)


@pytest.mark.parametrize("k", [0, 1])
def test_statistics(fixture, compare, own_statistics, k):
    """There and back, of noise."""
    seed, scale, every = (fixture.meta[name] for name in ("seed", "raw_scale", "channel_stride_norm"))
    patches = scale * given("raw", (2, C, 2, 3), seed)
    special = scale * given("raw_special", (2, S, C), seed)
    raw = Level(torch.cat([special[None], map_to_tokens(patches[None])], dim=2), (2, 3))
    latent = own_statistics.to_latent(raw, k)[0, :, ::every, :, 0]
    compare(fixture, f"norm_level{k}", latent[:, :, S:].unflatten(2, (2, 3)), BOUND)
    compare(fixture, f"norm_special_level{k}", latent[:, :, :S].transpose(1, 2), BOUND)
    packed = torch.cat([special.transpose(1, 2), patches.flatten(2)], dim=2)[None, ..., None]
    level = own_statistics.to_level(packed, (2, 3), k)
    compare(fixture, f"denorm_level{k}", level.patches[0, :, ::every], BOUND)
    compare(fixture, f"denorm_special_level{k}", level.special[0, ..., ::every], BOUND)


def test_single_views(fixture, compare, gld):
    level = gld.encoder(fixture.images().transpose(0, 1), levels=2)[1]
    latent = gld.to_latent(level, 1)[:, 0, fixture["channel_index"][::2], :, 0]
    compare(fixture, "single_view_packed_latent_level1", latent, BOUND)


@pytest.mark.parametrize("special", ["packed", "patches_only_learned_specials", "patches_only_cached_specials"])
def test_propagation(fixture, compare, gld, levels, special):
    """Noise as level-1 latents: special tokens too, or the learned ones, or those of the images."""
    V, grid, channels = fixture.meta["V"], tuple(fixture.meta["grid"]), fixture["channel_index"]
    packed = given("propagate.packed", (V, C, S + grid[0] * grid[1], 1), fixture.meta["seed"])[None]
    boundary = gld.to_level(packed, grid, 1)
    if special != "packed":
        if "learned" in special:
            tokens = gld.encoder.special_tokens(1, V).repeat(1, 1, 1, 2)  # only the second half is read
        else:
            tokens = levels[1].special
        boundary = Level(torch.cat([tokens, boundary.patch_tokens], dim=2), grid)
    for k, level in enumerate([boundary, *gld.encoder.resume(boundary, 1)], start=1):
        every = 1 if special == "packed" and k > 1 else 2
        compare(fixture, f"propagate_{special}_level{k}", level.patch_tokens[..., channels[::every]], BOUND)


def test_decoding(fixture, compare, gld, levels):
    """Of the images' own features, through the latents of levels 0 and 1."""
    grid, size = tuple(fixture.meta["grid"]), (fixture.meta["H"], fixture.meta["W"])
    features = gld.features(gld.to_latent(levels[0], 0), gld.to_latent(levels[1], 1), grid)
    joined = torch.cat(features, dim=-1)[0]
    compare(fixture, "decoder_input", joined[..., fixture["decoder_channel_index"]], BOUND)
    compare(fixture, "decoder_input_l2", joined.norm(dim=-1), BOUND)
    compare(fixture, "rgb", gld.rgb(features, grid)[0], BOUND)
    geometry = gld.dpt(features, grid, size)
    compare(fixture, "depth", geometry.depth[0, :, None], BOUND)
    compare(fixture, "depth_conf", geometry.depth_confidence[0, :, None], BOUND)
