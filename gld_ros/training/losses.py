# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of the geometric stage."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.geometry.rays import invert_rigid, ray_map
from gld_ros.networks.dpt import Geometry
from gld_ros.networks.posed_depth import SourceDepth


def log_gradients(log_depth: Tensor, target: Tensor) -> Tensor:
    """L1 between the image gradients of two log depths (..., H, W), differences clipped at one e-fold."""
    error = log_depth - target
    dx, dy = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    return dx.abs().clamp_max(1).mean() + dy.abs().clamp_max(1).mean()


def geometry_loss(geometry: Geometry, depth: Tensor, K: Tensor, c2w: Tensor) -> dict[str, Tensor]:
    """Depth and (of a head with rays) ray losses; the scene is divided by its mean depth and view 0 is the world.

    In float32 whatever the caller's autocast.
    """
    with torch.autocast(depth.device.type, enabled=False):
        return _geometry_loss(geometry, depth, K, c2w)


def _geometry_loss(geometry: Geometry, depth: Tensor, K: Tensor, c2w: Tensor) -> dict[str, Tensor]:
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
    """Of both sweeps of posed depth; nothing flows from the second into the depth of the first.

    depth: true, (B, V, H, W), in the unit of the poses.
    """
    losses = {f"first_{name}": 0.5 * value for name, value in sweep_loss(first, depth).items()}
    return losses | sweep_loss(second, depth)


def sweep_loss(predicted: SourceDepth, depth: Tensor) -> dict[str, Tensor]:
    """Log depth error with its gradients, and the Laplace likelihood of the error."""
    error = (predicted.depth.log() - depth.log()).abs()
    spread = predicted.spread
    return {
        "match": error.clamp_max(2).mean() + 0.5 * log_gradients(predicted.depth.log(), depth.log()),
        "match_nll": 0.1 * (error.detach() / spread + spread.log()).mean(),
    }


def level_dropout(levels: list[Tensor], probability: float) -> list[Tensor]:
    """Each level of each view set to zero with `probability`, never all of one view (spec gld.md, RGB decoder)."""
    keep = torch.rand(len(levels), *levels[0].shape[:2]) >= probability
    spare = torch.randint(len(levels), keep.shape[1:])
    keep |= F.one_hot(spare, len(levels)).movedim(-1, 0).bool() & ~keep.any(dim=0)
    return [x * k[..., None, None].to(x) for x, k in zip(levels, keep, strict=True)]


def picture_loss(image: Tensor, target: Tensor, seen: Tensor, unseen_weight: float = 3.0) -> Tensor:
    """L1 plus squared error of (B, 3, H, W), unseen pixels weighted up: they are few and the model's own work."""
    weight = torch.where(seen, 1.0, unseen_weight)[:, None]
    error = image - target
    return (weight * (error.abs() + 5 * error.pow(2))).mean()


def mean_log_error(image: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    """Mean over scenes of the logarithm of the squared error (B, 3, H, W), over all pixels and over the unseen ones.

    Minus the mean PSNR, up to a factor: easy scenes count as much as hard ones.
    """
    error = (image - target).pow(2).mean(dim=1)
    unseen = (~seen).float()
    everywhere = error.mean(dim=(1, 2))
    hidden = (error * unseen).sum(dim=(1, 2)) / unseen.sum(dim=(1, 2)).clamp_min(1)
    return ((everywhere + 1e-5).log() + (hidden + 1e-4).log()).mean()


def composite_depth_loss(predicted: Tensor, spread: Tensor, depth: Tensor) -> Tensor:
    """Relative depth error, and the Laplace likelihood of the log error, (B, H, W)."""
    relative = (predicted / depth - 1).abs()
    error = (predicted.log() - depth.log()).abs().detach()
    return relative.clamp_max(2).mean() + 0.1 * (error / spread + spread.log()).mean()
