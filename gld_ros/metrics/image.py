# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Likeness of pictures to real views: PSNR, SSIM, sharpness, sliced Wasserstein distance. Images: (H, W, 3) uint8.

The distance tells whether a method's pictures have the texture of real ones. As in Karras et al. 2018, patches come
from the levels of a Laplacian pyramid; here they keep their grey levels, so that a method that makes everything too
flat is told from one that does not.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

#: SSIM's window: 11 pixels, Gaussian, sigma 1.5 (Wang et al. 2004).
SSIM_RADIUS, SSIM_SIGMA = 5, 1.5
SCALES = 3  # of the pyramid: the whole picture, its half, its quarter
PATCH = 7  # pixels across
DIRECTIONS = 128  # that patches are projected on


def psnr(image: np.ndarray, real: np.ndarray, where: np.ndarray | None = None) -> float | None:
    """PSNR in dB over the pixels `where` (H, W) bool; None without such pixels."""
    difference = image.astype(np.float64) - real
    if where is not None:
        difference = difference[where]
    if not difference.size:
        return None
    return float(10 * np.log10(255**2 / max(np.mean(difference**2), 1e-6)))


def ssim_map(image: np.ndarray, real: np.ndarray) -> np.ndarray:
    """SSIM (H, W), mean over channels; borders are reflected."""
    a, b = (x.astype(np.float64) / 255 for x in (image, real))

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, SSIM_SIGMA, radius=SSIM_RADIUS, mode="mirror", axes=(0, 1))

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    ratio = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (ratio / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean(axis=2)


def gradient_energy(image: np.ndarray, where: np.ndarray | None = None) -> float:
    """Mean squared difference of neighbouring pixels' grey values (0..1), both of the pair inside `where` (H, W)."""
    grey = image.astype(np.float64).mean(axis=2) / 255
    inside = np.ones(grey.shape, bool) if where is None else where
    across = np.diff(grey, axis=1)[inside[:, 1:] & inside[:, :-1]]
    down = np.diff(grey, axis=0)[inside[1:] & inside[:-1]]
    pairs = np.concatenate([across, down])
    return float(np.mean(pairs**2)) if pairs.size else 0.0


def sharpness(image: np.ndarray, real: np.ndarray, where: np.ndarray | None = None) -> float | None:
    """Gradient energy over that of the real view: 1 = as much detail, 0 = flat; None for a flat real view."""
    energy = gradient_energy(real, where)
    return gradient_energy(image, where) / energy if energy > 1e-7 else None


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
