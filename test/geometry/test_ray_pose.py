# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras from ray maps, on made-up cameras."""

import pytest
import torch
from scipy.spatial.transform import Rotation

from gld_ros.errors import ModelError
from gld_ros.geometry.ray_pose import cameras_from_rays
from gld_ros.geometry.rays import ray_map

SIZE = (56, 70)
GRID = (32, 40)
K = torch.tensor(
    [
        [[60.0, 0, 35], [0, 62, 28], [0, 0, 1]],
        [[60, 0, 45], [0, 58, 19], [0, 0, 1]],
        [[75, 0, 22], [0, 75, 35], [0, 0, 1]],
    ],
    dtype=torch.float64,
)


def poses(views: int = 3) -> torch.Tensor:
    """c2w (V, 4, 4): a different turn of any size in each view, view 0 included."""
    c2w = torch.eye(4, dtype=torch.float64).repeat(views, 1, 1)
    c2w[:, :3, :3] = torch.from_numpy(Rotation.random(views, random_state=3).as_matrix())
    c2w[:, :3, 3] = torch.randn(views, 3, generator=torch.Generator().manual_seed(0))
    return c2w


def rays_of(K: torch.Tensor, c2w: torch.Tensor) -> torch.Tensor:
    """Ray map (1, V, h, w, 6) of pixel intrinsics."""
    cells = torch.tensor([GRID[1] / SIZE[1], GRID[0] / SIZE[0], 1.0], dtype=torch.float64)
    return ray_map(K * cells[:, None], c2w, *GRID)[None]


def degrees(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Angles between rotations (V, 3, 3)."""
    trace = (a[..., :3, :3] * b[..., :3, :3]).sum(dim=(-1, -2))
    return ((trace - 1) / 2).clamp(-1, 1).acos().rad2deg()


def noisy(rays: torch.Tensor, outliers: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise of 0.01 in every number, and a share of cells, some scattered, some in one block, that say nonsense."""
    generator = torch.Generator().manual_seed(1)
    rays = rays + 0.01 * torch.randn(rays.shape, generator=generator, dtype=rays.dtype)
    wrong = torch.rand(rays.shape[:-1], generator=generator) < outliers / 2
    wrong[:, :, : int(outliers / 2 * GRID[0])] = True
    nonsense = torch.randn(rays.shape, generator=generator, dtype=rays.dtype) * 2 + 1
    return torch.where(wrong[..., None], nonsense, rays), wrong


def test_exact_rays_give_exact_cameras_off_centre_and_turned_by_any_angle():
    c2w = poses()
    cameras = cameras_from_rays(rays_of(K, c2w), None, SIZE)
    assert torch.allclose(cameras.c2w[0], c2w, atol=1e-9)
    assert torch.allclose(cameras.K[0], K, atol=1e-7)
    assert cameras.error.max() < 1e-5
    single = cameras_from_rays(rays_of(K, c2w).float(), None, SIZE)
    assert torch.allclose(single.c2w[0], c2w, atol=1e-5)
    assert torch.allclose(single.K[0], K, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("outliers", [0.0, 0.3])
def test_noise_and_outliers_move_the_cameras_little(outliers):
    c2w = poses()
    rays, _ = noisy(rays_of(K, c2w), outliers)
    cameras = cameras_from_rays(rays, None, SIZE)
    assert degrees(cameras.c2w[0], c2w).max() < 0.4
    assert (cameras.c2w[0] - c2w)[:, :3, 3].norm(dim=-1).max() < 3e-3
    assert (cameras.K[0] - K).abs().max() < 0.6
    assert ((cameras.error > 0.3) & (cameras.error < 1.5)).all()


def test_confidence_overrules_a_majority():
    c2w = poses()
    rays, wrong = noisy(rays_of(K, c2w), 0.9)
    confidence = torch.where(wrong, 1.0, 20.0)
    assert degrees(cameras_from_rays(rays, None, SIZE).c2w[0], c2w).min() > 1
    cameras = cameras_from_rays(rays, confidence, SIZE)
    assert degrees(cameras.c2w[0], c2w).max() < 0.5
    assert (cameras.K[0] - K).abs().max() < 1


def test_rays_without_a_camera_are_refused_or_show_in_the_error():
    rays = rays_of(K, poses())
    for broken, message in (
        (torch.where(torch.rand(rays.shape) < 0.01, torch.nan, rays), "NaN"),
        (torch.ones_like(rays), "image plane"),
    ):
        with pytest.raises(ModelError, match=message):
            cameras_from_rays(broken, None, SIZE)
    with pytest.raises(ModelError, match="confidence"):
        cameras_from_rays(rays, torch.zeros(rays.shape[:-1]), SIZE)
    mirrored = rays * torch.tensor([-1.0, 1, 1, 1, 1, 1])
    assert cameras_from_rays(mirrored, None, SIZE).error.min() > 60
