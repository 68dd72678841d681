# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Deterministic synthetic weights and inputs for the golden fixtures (numpy only, no weights are shipped).

tensor_for(key, shape, salt) gives the value of one state-dict entry; `key` is the OFFICIAL checkpoint key
(see README.md for the prefix used per fixture).  It returns None for entries that are deterministic tables
(sin-cos position table, image mean/std, rotary tables): leave those as your model constructs them.
input_for(name, shape, seed) gives standard-normal inputs; images_for gives blocky 8-bit images.
"""

import math
import zlib

import numpy as np

CONSTANT_TABLES = ("decoder_pos_embed", "encoder_mean", "encoder_std", "freqs_cos", "freqs_sin", "coeffs_")


def _normal(label, shape):
    return np.random.default_rng(zlib.crc32(label.encode())).standard_normal(tuple(shape), dtype=np.float32)


def tensor_for(key, shape, salt=""):
    """Value of checkpoint entry `key`; `salt` (string) selects an independent weight set."""
    shape = tuple(int(s) for s in shape)
    if any(name in key for name in CONSTANT_TABLES):
        return None
    n = _normal(salt + key, shape)
    if key.endswith("t_embedder.W"):  # random Fourier frequencies
        return n
    if len(shape) == 1:
        if key.endswith("gamma"):  # layer scale
            return np.float32(0.5) + np.float32(0.1) * n
        if key.endswith("fc_fov.0.bias"):  # keep the field of view positive before its ReLU
            return np.float32(0.8) + np.float32(0.02) * n
        if key.endswith(".weight"):  # LayerNorm / RMSNorm scale
            return np.float32(1.0) + np.float32(0.05) * n
        if "adaLN_modulation" in key:  # constant part of shift / scale / gate
            return np.float32(0.3) * n
        return np.float32(0.02) * n  # every other bias
    if "token" in key.split(".")[-1] or "pos_embed" in key:
        return np.float32(0.2) * n  # class / camera tokens, learned position tables
    gain = 0.7
    if key.endswith(("qkv.weight", "query.weight", "key.weight")):
        gain = 1.0  # attention must be clearly non-uniform
    if "t_embedder.mlp" in key:
        gain = 2.0  # time must matter
    if ".scratch." in key:
        gain = 1.0  # dense heads: keep the maps from flattening out
    fan_in = math.prod(shape[1:])
    if key.endswith(("resize_layers.0.weight", "resize_layers.1.weight")):
        fan_in = shape[0]  # transposed convolutions with stride == kernel
    return np.float32(gain / math.sqrt(fan_in)) * n


def input_for(name, shape, seed):
    """Standard-normal float32 input array called `name` in the fixture with integer `seed`."""
    return _normal(f"{seed}:{name}", shape)


def images_for(name, shape, seed, block=7):
    """uint8 images (..., H, W): random blocks of `block` pixels plus +-8 grey levels of pixel noise."""
    rng = np.random.default_rng(zlib.crc32(f"{seed}:{name}".encode()))
    *lead, h, w = shape
    low = rng.integers(16, 240, (*lead, -(-h // block), -(-w // block)))
    up = np.repeat(np.repeat(low, block, axis=-2), block, axis=-1)[..., :h, :w]
    return (up + rng.integers(-8, 9, tuple(shape))).astype(np.uint8)
