# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole path, two sources and two targets in four steps, through GLDPipeline (fixtures i, n).

DA3 as its user gets it: written in the official layout with the recipe's weights, loaded by `from_pretrained`. VGGT,
whose file would have 3.6 GB, is put together in memory.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders.official_folder import SALTS, fixture_config, write_official_folder
from oracle import Golden, Place, assembled, built, given, golden_file, recipe, watched
from torch import Tensor
from unread_heads import gld_cameras_from_rays

from gld_ros.diffusion.conditioning import RequestCameras, normalized_poses
from gld_ros.diffusion.flow import time_grid
from gld_ros.generators.gld import Generated, SourceLatents
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.request import Loading
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.gld import GLDNetworks, stored_dtype
from gld_ros.networks.rgb_decoder import RGBDecoder
from gld_ros.pipeline import GLDPipeline
from gld_ros.weights.folder import KeyNames

BOUND = 2e-4
SIZE, GRID, SOURCES, STEPS = (56, 70), (4, 5), 2, 4


@pytest.fixture(scope="module")
def da3_folder(statistics, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gld-da3")
    write_official_folder(folder, "da3", fixture_config("da3"), statistics.arrays, unread_heads=False)
    return folder


@pytest.fixture(scope="module")
def da3(da3_folder) -> GLD:
    return GLD.of(GLDPipeline.from_pretrained(da3_folder, device=str(Place.device), dtype="float32").generator)


@pytest.fixture(scope="module")
def vggt(statistics, vggt_1b, vggt_depth_head) -> GLD:
    config, salts = fixture_config("vggt"), SALTS["vggt"]
    C, patch = config.encoder.channels, config.encoder.patch
    net = assembled(
        config,
        statistics,
        encoder=vggt_1b,
        dpt=vggt_depth_head,
        rgb=recipe(RGBDecoder(C, patch, config.rgb), KeyNames("decoder."), salts["rgb"]),
        level1=built(lambda: MultiViewDiT(C, patch, config.level1), salt=salts["level1"]),
        level0=built(lambda: MultiViewDiT(C, patch, config.level0), salt=salts["level0"]),
    )
    return GLD(net, Loading(Place.device))


@pytest.fixture(scope="module")
def da3_made(da3) -> tuple[Generated, dict[str, Tensor]]:
    return generate(da3, golden_file("end_to_end"))


@pytest.fixture(scope="module")
def vggt_made(vggt) -> tuple[Generated, dict[str, Tensor]]:
    return generate(vggt, golden_file("end_to_end_vggt"))


def generate(pipe: GLD, fixture: Golden) -> tuple[Generated, dict[str, Tensor]]:
    """The fixture's request, and the noisy latents (steps, V, C, h, w) of both levels after the steps but the last."""
    assert fixture.meta["cond"] == SOURCES and fixture.meta["num_steps"] == STEPS + 1
    images, seed, config = fixture.images(), fixture.meta["seed"], pipe.net.config
    special = config.level1.special_tokens
    shape = (config.encoder.channels, *((special + GRID[0] * GRID[1], 1) if special else GRID))
    V = images.shape[1]
    noise = given("noise_level1", (V, *shape), seed)[None], given("noise_level0", (1, V, *shape), seed)
    with watched({"level1": pipe.net.level1, "level0": pipe.net.level0}) as calls:
        made = pipe.generate_tensors(images[:, :SOURCES], fixture["K"], fixture["c2w"], steps=STEPS, noise=noise)
    # Each step asks twice, without and with the condition.
    return made, {name: torch.cat([call.args[0] for call in all_[2::2]]) for name, all_ in calls.items()}


def encode(pipe: GLD, fixture: Golden) -> SourceLatents:
    return pipe.diffusion.latents_of(fixture.images()[:, :SOURCES])


def compare_conditions(compare, fixture: Golden, net: GLDNetworks) -> None:
    """What both models are told of time and cameras."""
    compare(fixture, "time_grid", time_grid(net.config.flow, STEPS, views=4), BOUND)
    compare(fixture, "viewmats", normalized_poses(fixture["c2w"], world_frame=True)[1], BOUND)
    shared = RequestCameras(fixture["K"], fixture["c2w"], SOURCES, SIZE, GRID, net.config.compat)
    cameras = shared.condition(net.level1)
    compare(fixture, "camera_map_view1_stride2", cameras.camera_map[0, 1, :, ::2, ::2], BOUND)


def compare_features(compare, fixture: Golden, features: list[Tensor]) -> None:
    channels = fixture["channel_index"]
    for k, level in enumerate(features):
        compare(fixture, f"decoder_input_level{k}", level[0][..., channels[::4] if k < 2 else channels], BOUND)


def test_da3_conditions(golden, compare, da3):
    fixture = golden("end_to_end")
    channels, net = fixture["channel_index"], da3.net
    compare_conditions(compare, fixture, net)
    latents = encode(da3, fixture)
    compare(fixture, "cond_latent_level1", latents.level1[0][:, channels[::2]], BOUND)
    compare(fixture, "cond_latent_level0", latents.level0[0][:, channels[::2]], BOUND)
    token = (latents.camera[0, 0] - net.level1_mean) * torch.rsqrt(net.level1_var + 1e-5)
    compare(fixture, "propagation_cls_latent", token, BOUND)


def test_da3(golden, compare, da3, da3_made):
    fixture = golden("end_to_end")
    channels = fixture["channel_index"]
    made, states = da3_made
    for level in ("level1", "level0"):
        compare(fixture, f"traj_{level}", states[level][:, :, channels[::4]], BOUND)
        compare(fixture, f"{level}_latent", getattr(made, level)[0][:, ::2], BOUND)
    compare_features(compare, fixture, made.features)
    camera = encode(da3, fixture).camera.expand(-1, 4, -1)
    last = da3.net.encoder.resume(da3.net.to_level(made.level1, GRID, 1, camera), 1)[1]
    compare(fixture, "decoder_input_level3_cls", last.camera[0][:, channels], BOUND)
    compare(fixture, "rgb_fp32", made.image, BOUND)


def test_da3_geometry(golden, compare, da3_made):
    fixture = golden("end_to_end")
    geometry = da3_made[0].geometry
    compare(fixture, "depth", geometry.depth, BOUND)
    compare(fixture, "depth_conf", geometry.depth_confidence, BOUND)
    compare(fixture, "ray", geometry.rays[:, :, ::2, ::2], BOUND)
    compare(fixture, "ray_conf", geometry.ray_confidence, BOUND)
    c2w, K = gld_cameras_from_rays(geometry.rays, geometry.ray_confidence, SIZE)
    compare(fixture, "recovered_c2w", c2w[0], BOUND)
    compare(fixture, "recovered_K", K[0], BOUND)


def test_da3_image_under_autocast(golden, compare, da3, da3_made):
    """As officially: weights in float32, the RGB decoder alone in bfloat16."""
    fixture = golden("end_to_end")
    with torch.autocast(Place.device.type, torch.bfloat16):
        image = da3.net.rgb(da3_made[0].features, GRID)
    compare(fixture, "rgb_bf16_autocast_view_last", image[0, -1], 1e-2)


def test_da3_in_bfloat16(golden, compare, da3_folder):
    """All components, with the weights in bfloat16."""
    fixture = golden("end_to_end")
    pipe = GLD.of(GLDPipeline.from_pretrained(da3_folder, device=str(Place.device), dtype="bfloat16").generator)
    compare.psnr(fixture, "rgb_fp32", generate(pipe, fixture)[0].image, at_least=40)


def test_vggt_conditions(golden, compare, statistics, vggt):
    fixture = golden("end_to_end_vggt")
    channels, net = fixture["channel_index"], vggt.net
    compare_conditions(compare, fixture, net)
    latents = encode(vggt, fixture)
    compare(fixture, "cond_latent_level1", latents.level1[0, :, channels, :, 0], BOUND)
    compare(fixture, "cond_latent_level0", latents.level0[0, :, channels, :, 0], BOUND)
    # The other reading of the released code: each level's own statistics for the special tokens.
    own = replace(net.config.compat, level1_special_statistics=False)
    other = assembled(replace(net.config, compat=own), statistics)
    S = net.config.level1.special_tokens
    level0 = net.to_level(latents.level0, GRID, 0)
    special = other.to_latent(level0, 0)[0, :, channels, :S, 0]
    compare(fixture, "cond_special_level0_with_level0_special_stats", special, BOUND)


def test_vggt(golden, compare, vggt_made):
    fixture = golden("end_to_end_vggt")
    channels = fixture["channel_index"]
    made, states = vggt_made
    for level in ("level1", "level0"):
        compare(fixture, f"traj_{level}", states[level][:, :, channels[::4], :, 0], BOUND)
        compare(fixture, f"{level}_latent", getattr(made, level)[0, :, channels, :, 0], BOUND)
    compare_features(compare, fixture, made.features)
    compare(fixture, "decoder_input_l2", torch.cat(made.features, dim=-1)[0].norm(dim=-1), BOUND)
    compare(fixture, "rgb", made.image[0], BOUND)
    compare(fixture, "depth", made.geometry.depth[0][:, None], BOUND)
    compare(fixture, "depth_conf", made.geometry.depth_confidence[0][:, None], BOUND)


def test_vggt_in_bfloat16(golden, compare, vggt):
    """All components, with the weights as the loader would have them in bfloat16."""
    fixture = golden("end_to_end_vggt")
    with torch.device("meta"):
        net = GLDNetworks(vggt.net.config)
    state = vggt.net.state_dict()
    net.load_state_dict({k: v.to(stored_dtype(k, v, torch.bfloat16)) for k, v in state.items()}, assign=True)
    pipe = GLD(net.eval().requires_grad_(False), Loading(Place.device))
    compare.psnr(fixture, "rgb", generate(pipe, fixture)[0].image[0], at_least=40)
