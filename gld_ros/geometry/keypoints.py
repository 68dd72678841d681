# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SIFT keypoints of an image, and those of two images that match."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

RATIO = 0.75  # Lowe's, of the distances to the nearest and to the second nearest descriptor


@dataclass(frozen=True)
class Keypoints:
    """SIFT of one image. pixels: (N, 2), the first pixel's centre at 0.5; words: (N, 128) descriptors."""

    pixels: np.ndarray
    words: np.ndarray


def keypoints(image: np.ndarray, count: int = 2000) -> Keypoints:
    """At most `count` of an (H, W, 3) or (H, W) uint8 image."""
    points, words = cv2.SIFT.create(count).detectAndCompute(image, None)
    if words is None:
        return Keypoints(np.empty((0, 2)), np.empty((0, 128), np.float32))
    return Keypoints(np.array([point.pt for point in points]) + 0.5, words)


def matches(points: Keypoints, others: Keypoints, mutual: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Nearest matches that pass the ratio test, as pixels (N, 2) of each. mutual: nearest both ways."""
    if min(len(points.words), len(others.words)) < 2:
        return np.empty((0, 2)), np.empty((0, 2))
    matcher = cv2.BFMatcher()
    clear = [a for a, b in matcher.knnMatch(points.words, others.words, 2) if a.distance < RATIO * b.distance]
    if mutual:
        back = {m.queryIdx: m.trainIdx for m in matcher.match(others.words, points.words)}
        clear = [m for m in clear if back[m.trainIdx] == m.queryIdx]
    pairs = np.array([(m.queryIdx, m.trainIdx) for m in clear], int).reshape(-1, 2)
    return points.pixels[pairs[:, 0]], others.pixels[pairs[:, 1]]
