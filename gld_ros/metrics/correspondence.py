# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pixels of two views that show the same point: by true depth (PCK of features), by matching (reprojection error)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.keypoints import Keypoints, matches
from gld_ros.geometry.points import project, unproject
from gld_ros.geometry.se3 import invert

#: Depths of one point seen twice agree within this share; otherwise it is hidden in one of the views.
VISIBLE = 0.05
MIN_MATCHES = 8  # below which no error is given


def shared_pixels(
    depth: np.ndarray, camera: Camera, other_depth: np.ndarray, other: Camera, within: float = VISIBLE
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) of a view whose points the other view shows, too, and where it does, by the depths (H, W) of both.

    Depths of one surface agree `within` this share; where either is unknown (NaN, 0) nothing is shared.
    """
    rows, columns = np.nonzero(np.isfinite(depth) & (depth > 0))
    points = unproject(depth, camera)[rows, columns]
    pixels, z = project(points, other)
    inside = (z > 0) & (pixels >= 0).all(axis=1) & (pixels[:, 0] < other.width) & (pixels[:, 1] < other.height)
    rows, columns, pixels, z = rows[inside], columns[inside], pixels[inside], z[inside]
    there = other_depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
    visible = np.abs(there - z) < within * z
    return np.stack([columns[visible] + 0.5, rows[visible] + 0.5], axis=1), pixels[visible]


def true_matches(
    depth: np.ndarray, camera: Camera, other_depth: np.ndarray, other: Camera, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` of the `shared_pixels` of two views with known depth."""
    pixels, others = shared_pixels(depth, camera, other_depth, other)
    chosen = np.random.default_rng(seed).permutation(len(pixels))[:count]
    return pixels[chosen], others[chosen]


def pck(features: Tensor, other: Tensor, pixels: np.ndarray, truth: np.ndarray, size: tuple[int, int], share: float):
    """Percentage of correct keypoints, 0..1: of `pixels` (N, 2), those whose most similar cell lies near the truth.

    features, other: (C, h, w) of two views of `size` (H, W); the cell of `other` with the largest cosine similarity
    counts if its centre is within `share` of the longer side of `truth` (N, 2). None without pixels.
    """
    if not len(pixels):
        return None
    h, w = features.shape[1:]
    cell = np.array([size[1] / w, size[0] / h])
    columns, rows = np.minimum((pixels / cell).astype(int), [w - 1, h - 1]).T
    queries = torch.nn.functional.normalize(features[:, rows, columns].float(), dim=0)
    best = (queries.T @ torch.nn.functional.normalize(other.flatten(1).float(), dim=0)).argmax(dim=1).cpu().numpy()
    found = (np.stack([best % w, best // w], axis=1) + 0.5) * cell
    return float(np.mean(np.linalg.norm(found - truth, axis=1) <= share * max(size)))


def reprojection_error(points: Keypoints, camera: Camera, other_points: Keypoints, other: Camera) -> float | None:
    """Median reprojection error in pixels of SIFT matches between two views at their known cameras.

    To first order (Sampson): how far both ends of a match have to move to be images of one point, as `sampson_error`.
    A generated view that shows a surface where its camera would not is off. None with fewer than MIN_MATCHES matches.
    """
    pixels, others = matches(points, other_points)
    if len(pixels) < MIN_MATCHES:
        return None
    return float(np.median(sampson_error(pixels, camera, others, other)))


def sampson_error(pixels: np.ndarray, camera: Camera, others: np.ndarray, other: Camera) -> np.ndarray:
    """(N,) least movement of both pixels (N, 2) together, to first order, that lets their rays meet."""
    motion = invert(other.c2w) @ camera.c2w
    t = motion[:3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    fundamental = np.linalg.inv(other.K).T @ cross @ motion[:3, :3] @ np.linalg.inv(camera.K)
    a, b = (np.concatenate([x, np.ones((len(x), 1))], axis=1) for x in (pixels, others))
    lines, other_lines = a @ fundamental.T, b @ fundamental
    algebraic = np.abs((b * lines).sum(axis=1))
    return algebraic / np.sqrt((lines[:, :2] ** 2).sum(axis=1) + (other_lines[:, :2] ** 2).sum(axis=1)).clip(1e-12)
