# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The geometry adapter, encoded and decoded in a stream: toy at the released grid, and full size (fixture gen3r a)."""

import pytest
import torch
from builders.gen3r_folder import published
from gen3r_recipe import adapter
from oracle import given, watched

from gld_ros.networks.gen3r.adapter import LATENT_MEAN, LATENT_STD, GeometryAdapter
from gld_ros.networks.gen3r.configs import AdapterConfig

BOUND = 2e-5
FIXTURE = "gen3r_adapter"


@pytest.fixture(scope="module")
def toy(golden) -> GeometryAdapter:
    config = golden(FIXTURE).meta["config"]["toy"]
    return adapter(
        AdapterConfig(config["input_dim"], config["resample_scale"], config["hidden_dim"]), "gen3r/adapter_toy/"
    )


def test_toy_encoder(fixture, compare, toy):
    config = fixture.meta["config"]
    seed, shape = config["seed"], (1, config["toy"]["input_dim"], config["toy_frames"], 40, 40)
    encoder = toy.encoder
    modules = {f"enc_d{k}": encoder.downsamples[k] for k in (2, 5, 8)}
    with watched(modules | {"enc_init": encoder.init_block, "enc_conv1": encoder.conv1}) as calls:
        found = toy.encode(given("toy.tokens", shape, seed))
    for name, all_ in calls.items():
        compare(fixture, f"toy.{name}_chunk1", all_[1].result[0, :4, :, ::10, ::10], BOUND)
    noise = given("posterior.0", tuple(found.mean.shape), seed)
    for name, latent in (("mean", found.mean), ("logvar", found.logvar), ("sample", found.sample(noise))):
        compare(fixture, f"toy.{name}_stride7", latent[..., ::7, ::7], BOUND)


def test_toy_decoder(fixture, compare, toy):
    seed = fixture.meta["config"]["seed"]
    z = given("toy.z", (1, 16, 3, 70, 70), seed)
    decoder = toy.decoder
    modules = {f"dec_u{k}": decoder.upsamples[k] for k in (3, 7, 11)}
    with watched(modules | {"dec_head": decoder.head[2]}) as calls:
        decoded = toy.decode(z)
    for name, all_ in calls.items():
        compare(fixture, f"toy.{name}_chunk1", all_[1].result[0, :4, :, ::10, ::10], BOUND)
    compare(fixture, "toy.decoded_stride4", decoded[0, ::4, :, ::4, ::4], BOUND)
    compare(fixture, "toy.decoded_1frame", toy.decode(z[:, :, :1])[0, ::4, :, ::4, ::4], BOUND)
    small = toy.decode(given("toy.z_small", (1, 16, 1, 14, 14), seed))
    compare(fixture, "toy.decoded_from_14x14_unpatched", small[0, ::4, :, ::4, ::4], BOUND)


def test_full_size(fixture, compare, gen3r_adapter):
    config = fixture.meta["config"]
    seed, F, g = config["seed"], config["frames"], config["grid"]
    # A stream of chunks, as VGGT's tokens come.
    tokens = given("real.tokens", (1, 10240, F, g, g), seed)
    found = gen3r_adapter.encode(iter([tokens[:, :, :1], tokens[:, :, 1:]]))
    compare(fixture, "real.mean", found.mean[0], BOUND)
    compare(fixture, "real.logvar", found.logvar[0], BOUND)
    decoded = gen3r_adapter.decode(given("real.z", tuple(found.mean.shape), seed))[0]
    compare(fixture, "real.decoded", decoded[fixture["channel_index"]], BOUND)
    compare(fixture, "real.decoded_l2", decoded.norm(dim=0), BOUND)


def test_latent_statistics(fixture, compare):
    compare(fixture, "real.latent_mean", torch.tensor(LATENT_MEAN), 1e-7)
    compare(fixture, "real.latent_std", torch.tensor(LATENT_STD), 1e-7)


def test_published_names(gen3r_adapter):
    names = {f"model.{key}": tuple(tensor.shape) for key, tensor in gen3r_adapter.state_dict().items()}
    assert names == published("geo_adapter")
