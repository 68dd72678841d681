# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""VGGT's tokens to latents, and latents to geometry by VGGT's heads, full size (fixtures gen3r i and g)."""

import pytest
import torch
from gen3r_recipe import geometry_heads
from oracle import given, golden_file, watched

from gld_ros.networks.camera_head import decode_camera
from gld_ros.networks.encoder import Level
from gld_ros.networks.gen3r.geometry import LEVELS, ClipGeometry, levels_of, reliable, token_maps, unprojected
from gld_ros.networks.gen3r.latents import joined

BOUND = 5e-5
#: Share of a mask that may differ: pixels at its borders.
MASK_BOUND = 1e-3
TOKENS, DECODE = "gen3r_tokens", "gen3r_decode"


@pytest.fixture(scope="module")
def levels(vggt_1b) -> list[Level]:
    found = vggt_1b(golden_file(TOKENS).images())
    vggt_1b.to("meta")  # 3.6 GB that no later test needs (conftest.py)
    return found


def test_tokens(golden, compare, levels):
    fixture = golden(TOKENS)
    tokens = joined(token_maps(levels))[0]
    compare(fixture, "tokens", tokens[fixture["channel_index"]], BOUND)
    compare(fixture, "tokens_l2", tokens.norm(dim=0), BOUND)


def test_latents(golden, compare, levels, gen3r_adapter):
    fixture = golden(TOKENS)
    found = gen3r_adapter.encode(token_maps(levels))
    compare(fixture, "mean", found.mean[0], BOUND)
    compare(fixture, "logvar", found.logvar[0], BOUND)
    noise = given("posterior.0", tuple(found.mean.shape), fixture.meta["config"]["seed"])
    compare(fixture, "sample", found.sample(noise)[0], BOUND)


@pytest.fixture(scope="module")
def decoded(gen3r_adapter) -> torch.Tensor:
    """Token maps of the fixture's latents."""
    config = golden_file(DECODE).meta["config"]
    f, h = (config["frames"] - 1) // 4 + 1, 7 * config["grid"] // 4
    latents = given("latents", (1, 16, f, h, 2 * h), config["seed"])
    return gen3r_adapter.decode(latents.chunk(2, dim=-1)[1]) * config["token_scale"]


def read(heads, decoded: torch.Tensor) -> tuple[ClipGeometry, torch.Tensor]:
    """What the heads make of the maps in two chunks, and the pose encodings."""
    with watched({"camera": heads.camera_head}) as calls:
        geometry = heads(iter([decoded[:, :, :3], decoded[:, :, 3:]]), (112, 112))
    return geometry, calls["camera"][0].result


def test_heads(golden, compare, decoded, vggt_camera_head, vggt_point_head, vggt_depth_head):
    fixture = golden(DECODE)
    compare(fixture, "tokens", decoded[0, fixture["channel_index"]], BOUND)
    levels, camera = levels_of(decoded)
    assert len(levels) == LEVELS
    compare(fixture, "camera_token_every8", camera[0, :, ::8], BOUND)
    heads = geometry_heads(vggt_camera_head, vggt_point_head, vggt_depth_head)
    geometry, encoding = read(heads, decoded)
    compare(fixture, "pose_encoding", encoding, BOUND)
    compare(fixture, "depth_stride2", geometry.depth[0, :, ::2, ::2], BOUND)
    compare(fixture, "depth_conf_stride4", geometry.depth_confidence[0, :, ::4, ::4], BOUND)
    compare(fixture, "point_maps_stride4", geometry.points[0, :, ::4, ::4], BOUND)
    compare(fixture, "point_conf_stride4", geometry.point_confidence[0, :, ::4, ::4], BOUND)
    # The recipe's head reports a field of view of 0: it is given one.
    used = encoding[-1].clone()
    used[..., 7:] = 0.6 + 0.05 * torch.arange(5)[None, :, None] + 0.1 * used[..., 7:].tanh()
    compare(fixture, "pose_encoding_used", used, BOUND)
    w2c, K = decode_camera(used, (112, 112))
    compare(fixture, "w2c", w2c[..., :3, :], BOUND)
    compare(fixture, "K", K, BOUND)
    points = unprojected(geometry.depth, w2c, K)
    compare(fixture, "pcds_stride4", points[0, :, ::4, ::4], BOUND)
    compare.mask(fixture, "point_mask_minmax", reliable(geometry.depth)[0], MASK_BOUND)
    compare.mask(fixture, "point_mask_plain", geometry.depth[0] > 1e-8, MASK_BOUND)


def test_unprojection(golden, compare):
    fixture = golden(DECODE)
    depth = fixture["known_depth"]
    points = unprojected(depth, fixture["w2c"][0, :2], fixture["K"][0, :2].float())
    compare(fixture, "known_pcds", points, BOUND)
    compare.mask(fixture, "known_mask", reliable(depth), MASK_BOUND)
