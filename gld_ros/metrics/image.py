# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Likeness of a picture to the real view: PSNR, SSIM, sharpness. Images are (H, W, 3) uint8."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

#: SSIM's window: 11 pixels, Gaussian, sigma 1.5 (Wang et al. 2004).
SSIM_RADIUS, SSIM_SIGMA = 5, 1.5


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
