# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every array of every golden file is compared by some test, or is an input of one. Runs last (see conftest.py)."""

from fnmatch import fnmatchcase

import pytest
from oracle import GOLDEN

#: What the official code was given, and which channels were kept; by file, as patterns.
INPUTS = {
    "camera_map": "K c2w id_K id_c2w prope_[qkv] prope_K prope_viewmats",
    "da3_encoder": "images_u8 channel_index",
    "da3_heads": "net_images_u8 rays_clean rays_centred rays_noisy rays_noise_conf metric_pred_c2w",
    "end_to_end": "images_u8 channel_index K c2w",
    "end_to_end_vggt": "images_u8 channel_index K c2w",
    "gen3r_adapter": "channel_index",
    "gen3r_camera": "c2w K get_K_in frame_u8",
    # x_equals_latents: a check of the official run.
    "gen3r_conditions": "images_u8 c2w K ids_prompt ids_bad_detailed x_equals_latents",
    "gen3r_decode": "channel_index known_depth",
    "gen3r_end_to_end": "ids_prompt ids_bad_detailed images_u8 c2w K_given",
    "gen3r_sampler": "",
    "gen3r_text_clip": "ids clip_image_u8",
    "gen3r_tokens": "images_u8 channel_index",
    "gen3r_training": "",
    "gen3r_transformer": "",
    "gen3r_wan_vae": "video_u8",
    # The null cameras are compared as the tables that PRoPE makes of them.
    "gld_dit_level1": "?.x ?.t ?.K ?.c2w ?.uncond_viewmats ?.uncond_Ks",
    "gld_dit_cascade": "?.x ?.t ?.K ?.c2w ?.uncond_viewmats ?.uncond_Ks ?.source_condition",
    "gld_dit_vggt_level1": "?.x ?.t ?.K ?.c2w ?.uncond_viewmats ?.uncond_Ks",
    "gld_dit_vggt_cascade": "?.x ?.t ?.K ?.c2w ?.uncond_viewmats ?.uncond_Ks ?.source_condition",
    "rgb_decoder": "hidden_states",
    "sampler": "A b A_uncond ref_cond x0 train_u train_x1 train_noise loss.u loss.K loss.c2w",
    "vggt_encoder": "images_u8 toy.?.images_u8 channel_index",
    "vggt_gld": "images_u8 channel_index decoder_channel_index",
    "vggt_heads": "pose_encoding_in pose_K_in pose_w2c_in net_images_u8",
}


@pytest.mark.parametrize("file", sorted(path.stem for path in GOLDEN.glob("*.npz")))
def test_every_array_is_compared(golden, compare, all_ran, file):
    keys = set(golden(file).keys)
    compared = {result.array for result in compare.arrays if result.fixture == file}
    inputs = {pattern: {key for key in keys if fnmatchcase(key, pattern)} for pattern in INPUTS[file].split()}
    stale = [pattern for pattern, found in inputs.items() if not found or found & compared]
    assert not stale, f"{file}: no inputs, or compared: {stale}"
    missing = sorted(keys - compared - set().union(*inputs.values()))
    assert not missing, f"{file}: neither compared nor named as inputs: {missing}"
