# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The released models as configurations: DA3, VGGT and the two GLDs (spec gld.md, models.md A1 and C)."""

from __future__ import annotations

from dataclasses import replace

from gld_ros.networks.configs import (
    Compat,
    DiTCompat,
    DiTConfig,
    DPTConfig,
    EncoderConfig,
    FlowConfig,
    ModelConfig,
    RGBDecoderConfig,
    StemConfig,
)

DA3_BASE = EncoderConfig(
    width=768,
    heads=12,
    patch=14,
    position_grid=37,
    schedule="LLLLLGLGLGLG",
    taps=(5, 7, 9, 11),
    camera_token_from=4,
    qk_norm_from=4,
    rope_from=4,
    position_offset=0.1,
)
DA3_BASE_HEAD = DPTConfig(features=128, out_channels=(96, 192, 384, 768), aux_convs=5)

VGGT_1B = EncoderConfig(
    width=1024,
    heads=16,
    patch=14,
    position_grid=37,
    stem=StemConfig(),
    registers=4,
    schedule="LG" * 24,
    taps=(9, 23, 35, 47),  # the global blocks of the pairs 4, 11, 17, 23
    block_eps=1e-5,
    global_rope="grid",
    final_norm=False,
    position_antialias=True,
)
VGGT_HEAD = DPTConfig(features=256, out_channels=(256, 512, 1024, 1024), aux_convs=0, relu_skip=True)

RGB_DECODER = RGBDecoderConfig(width=1152, depth=28, heads=16, hidden=4096, base_grid=36)

_LEVEL1 = DiTConfig(
    width=768,
    depth=28,
    heads=16,
    head_width=2048,
    head_depth=6,
    head_heads=16,
    camera_channels=7,
    split_embedders=True,
    prediction="velocity",
    compat=DiTCompat(uninverted_intrinsics=True, identity_null_intrinsics=True),
)
_COMPAT = Compat(pixel_offset=(-0.5, 0.5), world_frame_poses=True)

GLD_DA3 = ModelConfig(
    name="gld-da3",
    encoder=DA3_BASE,
    dpt=DA3_BASE_HEAD,
    matching=None,
    rgb=RGB_DECODER,
    level1=_LEVEL1,
    # Trained with the older code: one embedder a stack, K always normalised by 504 x 504 and kept without a condition.
    level0=replace(
        _LEVEL1,
        head_depth=2,
        split_embedders=False,
        level1_channels=DA3_BASE.channels,
        compat=DiTCompat(uninverted_intrinsics=True, fixed_image_size=504),
    ),
    flow=FlowConfig(shift_dim=1536 * 18 * 18, steps=49, t_end=0.001, guidance_scale=1.5),
    long_side=504,
    max_views=8,
    compat=_COMPAT,
)
GLD_VGGT = replace(
    GLD_DA3,
    name="gld-vggt",
    encoder=VGGT_1B,
    dpt=VGGT_HEAD,
    level1=replace(_LEVEL1, special_tokens=VGGT_1B.specials),
    # Published with 806 M parameters although its yaml says two head blocks: the loader reads the depth from the file.
    level0=replace(_LEVEL1, special_tokens=VGGT_1B.specials, level1_channels=VGGT_1B.channels),
    flow=FlowConfig(shift_dim=2048 * 37 * 37, steps=99, t_end=0.001, guidance_scale=1.5),
    compat=replace(_COMPAT, level1_special_statistics=True),
)

MODELS = {config.name: config for config in (GLD_DA3, GLD_VGGT)}
