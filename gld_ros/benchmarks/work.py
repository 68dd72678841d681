# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What sampling has to compute, and how fast the device could."""

from __future__ import annotations

import time

import torch

from gld_ros.benchmarks.timing import synchronize
from gld_ros.networks.configs import DiTConfig, ModelConfig
from gld_ros.networks.dit import swiglu_hidden

#: Sides of the square matrices that are multiplied to find the peak.
SIDES = {"cuda": (2048, 4096, 8192, 16384), "cpu": (512, 1024, 2048)}
SECONDS = 0.5  # of multiplying, a side


def evaluation_flops(config: ModelConfig, stage: str, views: int, grid: tuple[int, int]) -> int:
    """FLOPs of one evaluation of a stage's network, "level1" or "level0", for one scene of `views` views.

    From the shapes: 2 a multiply-add of matrix products, convolutions and attention; what is done element by element
    is left out, as by torch's FlopCounterMode. No engine's shortcut changes the count.
    """
    dit: DiTConfig = getattr(config, stage)
    C, D, head = config.encoder.channels, dit.width, dit.head_width
    patches, specials = views * grid[0] * grid[1], views * dit.special_tokens
    tokens = patches + specials
    embedded = (C + (dit.level1_channels or C)) * D + 2 * C * head + dit.camera_channels * config.encoder.patch**2 * D
    products = patches * embedded + specials * (2 * C * (D + head) + C * C)
    products += tokens * (D * head + 2 * head**2 + head * C)  # between encoder and head; the last layer
    products += 512 * D + D**2  # time
    products += dit.depth * block_products(D, dit.mlp_ratio, tokens, patches, conditions=1)
    products += dit.head_depth * block_products(head, dit.mlp_ratio, tokens, patches, conditions=tokens)
    return 2 * products


def block_products(D: int, mlp_ratio: float, tokens: int, patches: int, conditions: int) -> int:
    """Multiply-adds of a DiT block of width D; conditions: how many rows adaLN has, one a scene or one a token."""
    linear = tokens * (4 * D**2 + 3 * D * swiglu_hidden(D, mlp_ratio))
    prope = patches * 8 * D  # half the channels of q, k, v and the output times 4 x 4 matrices
    return linear + conditions * 6 * D**2 + 2 * tokens**2 * D + prope


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of several square matrix products, as measured now."""
    best = 0.0
    for side in SIDES[device.type]:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        a @ b
        synchronize(device)
        # In batches that grow, so that a GPU is not waited for after each.
        count, began = 1, time.perf_counter()
        while (now := time.perf_counter()) - began < SECONDS:
            for _ in range(count):
                a @ b
            synchronize(device)
            best = max(best, 2 * side**3 * count / (time.perf_counter() - now))
            count *= 2
    return best
