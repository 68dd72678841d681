# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The video VAE, diffusers' with Gen3R's published tensors (fixture gen3r b)."""

import torch
from oracle import given

BOUND = 2e-5
FIXTURE = "gen3r_wan_vae"


def test_encoder(fixture, compare, gen3r_vae):
    found = gen3r_vae.encode(fixture.images("video_u8"))
    compare(fixture, "mean", found.mean[0], BOUND)
    compare(fixture, "logvar", found.logvar[0], BOUND)
    noise = given("posterior.0", tuple(found.mean.shape), fixture.meta["config"]["seed"])
    compare(fixture, "sample", found.sample(noise)[0], BOUND)


def test_decoder(fixture, compare, gen3r_vae):
    z = given("z", (1, *fixture["mean"].shape), fixture.meta["config"]["seed"])
    clip = gen3r_vae.decode(z)
    assert clip.min() >= 0 and clip.max() <= 1
    signed = 2 * clip[0, :, :, ::2, ::2] - 1
    compare(fixture, "decoded_stride2", signed, BOUND)
    compare(fixture, "unclamped_stride2", signed, BOUND)  # the recipe's values need no clamping
    compare(fixture, "decoded_1frame", 2 * gen3r_vae.decode(z[:, :, :1])[0, :, :, ::2, ::2] - 1, BOUND)
    assert torch.equal(fixture["decoded_stride2"], fixture["unclamped_stride2"])
