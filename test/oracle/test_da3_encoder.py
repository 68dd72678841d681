# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Full-size DA3-Base encoder against the official GLD code (fixture a)."""

import pytest
import torch
from oracle import assembled, given

from gld_ros.networks.encoder import Level
from gld_ros.networks.released import DA3_BASE, GLD_DA3

BOUND = 2e-5
FIXTURE = "da3_encoder"
C = DA3_BASE.width


@pytest.fixture
def gld(da3_base, statistics):
    """The encoder between the official statistics."""
    return assembled(GLD_DA3, statistics, encoder=da3_base)


def test_tokens_before_the_blocks(fixture, compare, da3_base):
    tokens = da3_base.embed(fixture.images(), (8, 6))
    compare(fixture, "tokens_in_every16", tokens[..., ::16], BOUND)
    compare(fixture, "tokens_in_l2", tokens.norm(dim=-1), BOUND)


def test_levels(fixture, compare, da3_base):
    channels = fixture["channel_index"]
    for k, level in enumerate(da3_base(fixture.images())):
        compare(fixture, f"raw_level{k}", level.tokens.flatten(0, 1)[..., channels], BOUND)
        compare(fixture, f"raw_level{k}_l2", level.tokens.flatten(0, 1).norm(dim=-1), BOUND)
        # The official code normalises the camera token too, which no decoder reads.
        normed = da3_base.norm(level.tokens[..., C:])
        compare(
            fixture,
            f"layer_norm_level{k}_second_half",
            normed.flatten(0, 1)[..., channels[channels >= C][::2] - C],
            BOUND,
        )
        assert torch.equal(da3_base.to_decoder(level)[..., C:], normed[:, :, 1:])
        assert torch.equal(da3_base.to_decoder(level)[..., :C], level.patch_tokens[..., :C])


@pytest.mark.parametrize("token", ["shared", "zero"])
def test_propagation(fixture, compare, gld, token):
    """Noise as level-1 latents, with the camera token of the first view for all, or with the mean one."""
    case, seed, channels = fixture.meta["propagate"], fixture.meta["seed"], fixture["channel_index"]
    V, grid = case["views"], tuple(case["grid"])
    latent = given("propagate.latent", (V, 2 * C, *grid), seed)[None]
    camera = given("propagate.cls", (V, 2 * C), seed)[0] if token == "shared" else torch.zeros(2 * C)
    camera = gld.to_level(camera[None, None, :, None, None], (1, 1), 1).tokens[:, :, 0]  # normalised like a patch
    boundary = gld.to_level(latent, grid, 1, camera.expand(1, V, -1))
    for k, level in enumerate([boundary, *gld.encoder.resume(boundary, 1)], start=1):
        name = f"propagate_{token}_cls_level{k}"
        compare(fixture, name, gld.encoder.to_decoder(level)[0][..., channels[::2] if k == 1 else channels], BOUND)
        compare(fixture, f"{name}_cls", level.camera[0, :, channels], BOUND)


def test_single_views(fixture, compare, gld):
    """Each image a scene of its own."""
    level = gld.encoder(fixture.images().transpose(0, 1), levels=2)[1]
    latent = gld.to_latent(level, 1)[:, 0]
    compare(fixture, "single_view_latent_level1", latent[:, fixture["channel_index"][::4]], BOUND)
    camera = gld.to_latent(Level(level.camera[:, :, None], (1, 1)), 1)[:, 0, :, 0, 0]
    compare(fixture, "single_view_cls_level1", camera, BOUND)
