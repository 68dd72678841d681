# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Text encoder, toy size, and image tower, full size, with Gen3R's published tensors (fixture gen3r h)."""

from gen3r_recipe import text_encoder
from oracle import watched

BOUND = 3e-5
FIXTURE = "gen3r_text_clip"


def test_text(fixture, compare):
    compare(fixture, "t5", text_encoder()(fixture["ids"]), BOUND)


def test_image(fixture, compare, gen3r_image_tower):
    layers = gen3r_image_tower.net.encoder.layers
    with watched({"block0": layers[0]}) as calls:
        tokens = gen3r_image_tower(2 * fixture.images("clip_image_u8") - 1)[0]
    compare(fixture, "clip_tokens_every8_channels_every4", tokens[::8, ::4], BOUND)
    compare(fixture, "clip_l2", tokens.norm(dim=-1), BOUND)
    compare(fixture, "clip_block0_every16", calls["block0"][0].result[0, ::16, ::8], BOUND)
