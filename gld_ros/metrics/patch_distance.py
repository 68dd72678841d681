# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sliced Wasserstein distance of small patches: whether a method's pictures have the texture of real ones.

As in Karras et al. 2018, patches come from the levels of a Laplacian pyramid; here they keep their grey levels, so that
a method that makes everything too flat is told from one that does not.
"""

from __future__ import annotations

import cv2
import numpy as np

SCALES = 3  # the whole picture, its half, its quarter
PATCH = 7  # pixels across
DIRECTIONS = 128  # that patches are projected on


def laplacian_pyramid(image: np.ndarray) -> list[np.ndarray]:
    """SCALES levels (h, w, 3) float32 of an image (H, W, 3): what each has more than the next, and the last as it is.

    In grey levels of 0..255.
    """
    fine: np.ndarray = image.astype(np.float32)
    levels: list[np.ndarray] = []
    for _ in range(SCALES - 1):
        coarse = cv2.pyrDown(fine)
        levels.append(fine - cv2.pyrUp(coarse, dstsize=(fine.shape[1], fine.shape[0])))
        fine = coarse
    return [*levels, fine]


def choose_centres(where: np.ndarray, count: int, seed: int = 0) -> list[np.ndarray]:
    """Centres (n, 2) of at most `count` patches of each scale, as row and column of that level.

    Patches lie inside the picture; their centre is a pixel in `where` (H, W) bool.
    """
    rng, margin, found = np.random.default_rng(seed), PATCH // 2, []
    for scale in range(SCALES):
        # The pixel of a level is centred on every second one of the finer level.
        inside = where[:: 2**scale, :: 2**scale][margin:-margin, margin:-margin]
        centres = np.argwhere(inside) + margin
        found.append(rng.permutation(centres)[:count])
    return found


def patches(image: np.ndarray, centres: list[np.ndarray]) -> list[np.ndarray]:
    """Patches (n, PATCH * PATCH * 3) float16 of an image (H, W, 3) uint8 around the `centres` of each scale."""
    found = []
    for level, where in zip(laplacian_pyramid(image), centres, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(0, 1))
        corners = where - PATCH // 2
        found.append(windows[corners[:, 0], corners[:, 1]].reshape(len(where), -1).astype(np.float16))
    return found


def sliced_wasserstein(a: np.ndarray, b: np.ndarray, seed: int = 0) -> float:
    """Mean Wasserstein-1 distance of sets of patches (N, D), both projected on DIRECTIONS random directions.

    Raises ValueError for sets of different sizes and for empty ones.
    """
    if a.shape != b.shape or not len(a):
        raise ValueError(f"patches of shapes {a.shape} and {b.shape}: as many of both are expected, at least one")
    directions = np.random.default_rng(seed).standard_normal((a.shape[1], DIRECTIONS)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    first, second = (np.sort(x.astype(np.float32) @ directions, axis=0) for x in (a, b))
    return float(np.abs(first - second).mean())


def halves_distance(a: np.ndarray, seed: int = 0) -> float:
    """The distance between two random halves of one set (N, D): what chance alone makes of half as many patches."""
    order, half = np.random.default_rng(seed).permutation(len(a)), len(a) // 2
    return sliced_wasserstein(a[order[:half]], a[order[half : 2 * half]], seed)
