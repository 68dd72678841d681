# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth that posed views agree on: each view's own, and what the others see of the same surfaces."""

from __future__ import annotations

import torch
from torch import Tensor

from gld_ros.geometry.warp import forward_warp

#: Log error that no view gets below, and expected errors within which two depths are taken for the same surface.
FLOOR, GATE = 0.02, 2.0


def agreed_depth(depth: Tensor, spread: Tensor, K: Tensor, c2w: Tensor) -> Tensor:
    """Depth (B, V, H, W) as the mean over all views that show the surface, weighted by their expected errors.

    Every other view's depth is carried into the view; where it differs by more than both may be wrong, one of them sees
    another surface, and it does not count. The views' mistakes differ, so the mean is nearer to the truth.

    depth: (B, V, H, W) in the unit of the poses; spread: (B, V, H, W) expected error of its logarithm; K: (B, V, 3, 3)
    pixels; c2w: (B, V, 4, 4).
    """
    B, V, H, W = depth.shape
    to = [v for v in range(V) for _ in range(V - 1)]
    by = [other for v in range(V) for other in range(V) if other != v]
    errors, depths, source_K, source_c2w = (x[:, by].flatten(0, 1)[:, None] for x in (spread, depth, K, c2w))
    target_K, target_c2w = K[:, to].flatten(0, 1), c2w[:, to].flatten(0, 1)
    warp = forward_warp(errors[:, :, None], depths, source_K, source_c2w, target_K, target_c2w, (H, W))
    pairs = B, V, V - 1
    theirs = warp.depth.clamp_min(1e-9).log().unflatten(0, pairs)
    variance = (warp.values[:, 0].square() + FLOOR**2).unflatten(0, pairs)
    own, own_variance = depth.log()[:, :, None], (spread.square() + FLOOR**2)[:, :, None]
    same = (theirs - own).abs() < GATE * (variance + own_variance).sqrt()
    weight = (same & warp.seen.unflatten(0, pairs)) / variance
    total = own / own_variance + (weight * torch.where(weight > 0, theirs, 0.0)).sum(dim=2, keepdim=True)
    return (total / (1 / own_variance + weight.sum(dim=2, keepdim=True))).exp()[:, :, 0]
