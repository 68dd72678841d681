# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of geometry: depth, rays and posed depth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.geometry.rays import exact, invert_rigid, ray_map
from gld_ros.networks.dpt import Geometry
from gld_ros.networks.posed_depth import SourceDepth


def log_gradients(log_depth: Tensor, target: Tensor) -> Tensor:
    """L1 between the image gradients of two log depths (..., H, W), differences clipped at one e-fold."""
    error = log_depth - target
    dx, dy = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    return dx.abs().clamp_max(1).mean() + dy.abs().clamp_max(1).mean()


@exact
def geometry_loss(geometry: Geometry, depth: Tensor, K: Tensor, c2w: Tensor) -> dict[str, Tensor]:
    """Depth and (of a head with rays) ray losses; the scene is divided by its mean depth and view 0 is the world."""
    scale = depth.mean(dim=(1, 2, 3))
    target = (depth / scale[:, None, None, None]).log()
    predicted = geometry.depth.log()
    error = (predicted - target).abs()
    confidence = geometry.depth_confidence
    losses = {
        "depth": error.mean() + 0.5 * log_gradients(predicted, target),
        "confidence": 0.1 * (confidence * error.detach() - 0.1 * confidence.log()).mean(),
    }
    if geometry.rays is not None:
        H, W = geometry.rays.shape[2:4]
        height, width = depth.shape[-2:]
        relative = invert_rigid(c2w[:, :1]) @ c2w
        relative = torch.cat([relative[..., :3, :3], relative[..., :3, 3:] / scale[:, None, None, None]], dim=-1)
        rays = ray_map(K * K.new_tensor([W / width, H / height, 1.0])[:, None], relative, H, W)
        losses["rays"] = 0.5 * (geometry.rays - rays).abs().mean()
    return losses


def matching_loss(first: SourceDepth, second: SourceDepth, depth: Tensor) -> dict[str, Tensor]:
    """Losses of both sweeps of posed depth; nothing flows from the second into the depth of the first.

    depth: true, (B, V, H, W), in the unit of the poses, NaN unknown.
    """
    losses = {f"first_{name}": 0.5 * value for name, value in measured_loss(first, depth).items()}
    return losses | measured_loss(second, depth)


def measured_loss(predicted: SourceDepth, depth: Tensor) -> dict[str, Tensor]:
    """Errors of the log depth and of its gradients, and the Laplace likelihood of the former, where depth is known.

    depth: (B, V, H, W), NaN unknown.
    """
    known = depth.isfinite()
    truth = torch.where(known, depth, 1.0).log()
    error = torch.where(known, predicted.depth.log() - truth, 0.0)
    slopes = torch.zeros((), device=depth.device)
    for axis in (-1, -2):
        both = known.narrow(axis, 1, known.shape[axis] - 1) & known.narrow(axis, 0, known.shape[axis] - 1)
        slopes = slopes + mean_where(error.diff(dim=axis).abs().clamp_max(1), both)
    likelihood = error.detach().abs() / predicted.spread + predicted.spread.log()
    return {
        "match": mean_where(error.abs().clamp_max(2), known) + 0.5 * slopes,
        "match_nll": 0.1 * mean_where(likelihood, known),
    }


def mean_where(x: Tensor, known: Tensor) -> Tensor:
    """The mean over the known pixels; 0 where there is none."""
    return (x * known).sum() / known.sum().clamp_min(1)


def level_dropout(levels: list[Tensor], probability: float) -> list[Tensor]:
    """Each level of each view set to zero with `probability`, never all of one view (spec gld.md, RGB decoder)."""
    keep = torch.rand(len(levels), *levels[0].shape[:2]) >= probability
    spare = torch.randint(len(levels), keep.shape[1:])
    keep |= F.one_hot(spare, len(levels)).movedim(-1, 0).bool() & ~keep.any(dim=0)
    return [x * k[..., None, None].to(x) for x, k in zip(levels, keep, strict=True)]
