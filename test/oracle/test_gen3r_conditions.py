# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras, built-in paths, crops, condition latents and packed rays (fixtures gen3r d and e)."""

import pytest
import torch
from gen3r_recipe import text_encoder
from oracle import given

from gld_ros.networks.gen3r.conditions import (
    PATHS,
    condition,
    covered,
    covered_intrinsics,
    eight_bits,
    no_rays,
    packed_rays,
    padded_clip,
    path,
    rays,
    relative_poses,
)

CAMERA_BOUND, BOUND = 1e-5, 3e-5
CAMERAS, CONDITIONS = "gen3r_camera", "gen3r_conditions"


def test_rays(golden, compare):
    fixture = golden(CAMERAS)
    size, stride = fixture.meta["config"]["size"], fixture.meta["config"]["stride"]
    compare(fixture, "extrinsics_json", torch.linalg.inv(fixture["c2w"]), CAMERA_BOUND)
    c2w = torch.linalg.inv(fixture["extrinsics_json"])
    compare(fixture, "relative_c2w", relative_poses(c2w).float(), CAMERA_BOUND)
    found = rays(fixture["K"], c2w, (size, size))
    compare(fixture, "pluecker_stride", found[..., ::stride, ::stride], CAMERA_BOUND)


@pytest.mark.parametrize("name", PATHS)
def test_paths(golden, compare, name):
    fixture = golden(CAMERAS)
    poses = path(name, 49, fixture.meta["config"]["scene_scale"])
    compare(fixture, f"traj_{name}", poses[::6], CAMERA_BOUND)


def test_crops(golden, compare):
    fixture = golden(CAMERAS)
    Ks = []
    for w, h, fx, fy, cx, cy, width, height in fixture["get_K_in"].tolist():
        K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        Ks.append(covered_intrinsics(K, (int(h), int(w)), (int(height), int(width))))
    compare(fixture, "get_K", torch.stack(Ks), CAMERA_BOUND)
    size = fixture.meta["config"]["size"]
    images = covered(fixture.images("frame_u8"), (size, size))
    compare(fixture, "frame_cropped_stride2", images[..., ::2, ::2], CAMERA_BOUND)


@pytest.mark.parametrize("task", ["1view", "2view", "allview"])
def test_condition(golden, compare, gen3r_vae, task):
    fixture = golden(CONDITIONS)
    config = fixture.meta["config"]
    F, images = config["frames"], fixture.images()
    given_images = {"1view": images[:, :1], "2view": images[:, [0, -1]], "allview": images}[task]
    found = gen3r_vae.encode(padded_clip(given_images, F))
    latent = found.sample(given("posterior.0", tuple(found.mean.shape), config["seed"]))
    compare(fixture, f"{task}.control", condition(latent, given_images.shape[1], F)[0], BOUND)
    compare(fixture, f"{task}.clip_image_stride4", eight_bits(given_images[0, 0])[:, ::4, ::4], BOUND)


def test_packed_rays(golden, compare):
    fixture = golden(CONDITIONS)
    size = fixture.meta["config"]["size"]
    found = rays(fixture["K"], fixture["c2w"], (size, size))
    compare(fixture, "pluecker_stride", found[..., ::7, ::7], BOUND)
    packed = packed_rays(found)
    compare(fixture, "pluecker_packed_frame_strided", packed[0, :, :, ::7, ::14], BOUND)
    assert no_rays(5, (size, size), packed).shape == packed.shape


def test_prompts(golden, compare):
    fixture, encoder = golden(CONDITIONS), text_encoder()
    compare(fixture, "context_negative", encoder(fixture["ids_bad_detailed"]), BOUND)
    compare(fixture, "context_prompt", encoder(fixture["ids_prompt"]), BOUND)
