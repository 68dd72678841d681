# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras from predicted ray maps (spec models.md A7).

A ray map (B, V, h, w, 6) holds at every cell the direction R K^-1 [u, v, 1] (not of unit length) and the camera centre,
both in the frame of the scene; (u, v) is the cell's centre in pixels of the (H, W) image. Everything is solved in
float64, whatever the map's dtype.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gld_ros.errors import ModelError


@dataclass
class RayCameras:
    """Cameras in the rays' frame, float64. c2w: (B, V, 4, 4). K: (B, V, 3, 3), pixels, without skew.

    error: (B, V) weighted median angle in degrees between the given rays and those of the cameras. Rays that no camera
    has (an untrained head) show here.
    """

    c2w: Tensor
    K: Tensor
    error: Tensor


def cameras_from_rays(rays: Tensor, confidence: Tensor | None, size: tuple[int, int]) -> RayCameras:
    """Robust, confidence-weighted cameras of a ray map, each view with its own K.

    rays: (B, V, h, w, 6). confidence: (B, V, h, w), positive, or None for equal weights. size: (H, W) of the image.
    Raises ModelError for rays or confidences that are not finite, and for rays that span no image plane.
    """
    h, w = rays.shape[2:4]
    rays = rays.flatten(2, 3).double()
    weights = torch.ones_like(rays[..., 0]) if confidence is None else confidence.flatten(2, 3).double()
    _check(rays, weights)
    plane = _image_plane(h, w, rays.device)
    fit = _robust_fit(plane, rays[..., :3], weights)
    # A camera looks along its rays. A reflection cannot be one; its opposite is, and shows as an error near 180.
    fit = fit * torch.linalg.det(fit).sign()[..., None, None]
    if not (torch.linalg.det(fit) > 1e-12).all():
        raise ModelError("ray map: the directions of a view span no image plane, so it has no intrinsics")
    rotation, K = _split(fit)
    centre = _robust_fit(torch.ones_like(plane[:, :1]), rays[..., 3:], weights)[..., 0]
    own = plane @ (rotation @ torch.linalg.inv(K)).transpose(-1, -2)
    angle = torch.cosine_similarity(own, rays[..., :3], dim=-1).clamp(-1, 1).acos().rad2deg()
    to_pixels = K.new_tensor([[size[1] / 2, 0, size[1] / 2], [0, size[0] / 2, size[0] / 2], [0, 0, 1]])
    return RayCameras(_pose(rotation, centre), to_pixels @ K, _weighted_median(angle, weights))


def _check(rays: Tensor, weights: Tensor) -> None:
    if not rays.isfinite().all():
        raise ModelError("ray map: holds NaN or infinite numbers, cameras need finite rays")
    if not (weights.isfinite().all() and (weights >= 0).all() and (weights.sum(dim=-1) > 0).all()):
        raise ModelError("ray confidence: finite numbers of at least 0 are expected, some above 0 in every view")


def _image_plane(h: int, w: int, device: torch.device) -> Tensor:
    """Centres of the cells (h * w, 3) as x, y, 1 where the image spans -1..1."""
    y, x = ((torch.arange(n, device=device, dtype=torch.float64) + 0.5) * (2 / n) - 1 for n in (h, w))
    grid = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid[1].flatten(), grid[0].flatten(), torch.ones_like(grid[0]).flatten()], dim=-1)


def _robust_fit(design: Tensor, values: Tensor, weights: Tensor, trials: int = 128, iterations: int = 20) -> Tensor:
    """A (..., m, k) with values (..., N, m) = A design (N, k) up to outliers; weights (..., N).

    Starts from the minimal sample with the least weighted median residual (samples are the same in every call), then
    repeats least squares with Geman-McClure weights 1 / (1 + (r / 2 s)^2)^2, s the weighted median residual.
    """
    N, k = design.shape
    generator = torch.Generator().manual_seed(0)
    samples = torch.randint(N, (trials, k), generator=generator).to(design.device)
    judges = torch.randperm(N, generator=generator)[:1024].to(design.device)
    starts = torch.linalg.pinv(design[samples]) @ values[..., samples, :]
    residual = (values[..., None, judges, :] - design[judges] @ starts).norm(dim=-1)
    score = _weighted_median(residual, weights[..., None, judges].expand_as(residual))
    fit = starts.take_along_dim(score.argmin(dim=-1)[..., None, None, None], dim=-3).squeeze(-3)
    for _ in range(iterations):
        residual = (values - design @ fit).norm(dim=-1)
        scale = 2 * _weighted_median(residual, weights)[..., None].clamp_min(1e-12)
        influence = (weights / (1 + (residual / scale) ** 2) ** 2)[..., None]
        weighted = influence * design
        fit = torch.linalg.solve(design.transpose(-1, -2) @ weighted, weighted.transpose(-1, -2) @ values)
    return fit.transpose(-1, -2)


def _weighted_median(x: Tensor, weights: Tensor) -> Tensor:
    """(...) of x and weights (..., N)."""
    x, order = x.sort(dim=-1)
    share = weights.gather(-1, order).cumsum(dim=-1)
    middle = (share < share[..., -1:] / 2).sum(dim=-1, keepdim=True)
    return x.gather(-1, middle)[..., 0]


def _split(fit: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and K over the image plane -1..1 of (..., 3, 3) multiples of R K^-1 with a positive determinant."""
    rotation, inner = torch.linalg.qr(fit)
    signs = inner.diagonal(dim1=-2, dim2=-1).sign()
    rotation, inner = rotation * signs[..., None, :], inner * signs[..., :, None]
    inner = inner / inner[..., 2:, 2:]
    K = torch.diag_embed(1 / inner.diagonal(dim1=-2, dim2=-1))  # no skew
    K[..., :2, 2] = torch.linalg.inv(inner)[..., :2, 2]
    return rotation, K


def _pose(rotation: Tensor, translation: Tensor) -> Tensor:
    """(..., 4, 4) of rotations (..., 3, 3) and translations (..., 3)."""
    pose = torch.eye(4, dtype=rotation.dtype, device=rotation.device).repeat(*rotation.shape[:-2], 1, 1)
    pose[..., :3, :3], pose[..., :3, 3] = rotation, translation
    return pose
