"""Depth images to points."""

from __future__ import annotations

import numpy as np

from gld_ros.geometry.cameras import Camera


def unproject(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """World points (H, W, 3) float64, metres, of a z-depth image (H, W); NaN where the depth is unknown."""
    x = (np.arange(camera.width) + 0.5 - camera.K[0, 2]) / camera.K[0, 0]
    y = (np.arange(camera.height) + 0.5 - camera.K[1, 2]) / camera.K[1, 1]
    rays = np.stack([*np.meshgrid(x, y), np.ones((camera.height, camera.width))], axis=-1)
    points = depth[..., None].astype(np.float64) * rays
    return points @ camera.c2w[:3, :3].T + camera.center


def project(points: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (..., 2) and z-depths (...) of world points (..., 3)."""
    local = (points - camera.center) @ camera.c2w[:3, :3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = local[..., :2] / local[..., 2:] * camera.K[[0, 1], [0, 1]] + camera.K[:2, 2]
    return pixels, local[..., 2]
