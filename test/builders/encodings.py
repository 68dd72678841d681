# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures as cameras of every encoding send them."""

from __future__ import annotations

import cv2
import numpy as np

CHANNEL_OF_BAYER = {"rggb": (0, 1, 1, 2), "bggr": (2, 1, 1, 0), "gbrg": (1, 2, 0, 1), "grbg": (1, 0, 2, 1)}


def is_wide(encoding: str) -> bool:
    """True for those of 16 bits."""
    return "16" in encoding


def stored(rgb: np.ndarray, encoding: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB, of even sides, as the rows that a camera of that encoding stores, in 8 bits."""
    height, width = rgb.shape[:2]
    if encoding.startswith("bayer"):
        mosaic = np.empty((height, width), np.uint8)
        for position, channel in enumerate(CHANNEL_OF_BAYER[encoding[6:10]]):
            mosaic[position // 2 :: 2, position % 2 :: 2] = rgb[position // 2 :: 2, position % 2 :: 2, channel]
        return mosaic
    if encoding.startswith(("nv", "yu", "uy")):
        planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
        y, u, v = np.split(planes, (height * width, height * width * 5 // 4))
        u, v = (plane.reshape(height // 2, width // 2) for plane in (u, v))
        if encoding in ("nv12", "nv21"):
            pairs = np.stack([u, v] if encoding == "nv12" else [v, u], axis=2)
            return np.concatenate([y, pairs.ravel()]).reshape(-1, width)
        u, v = u.repeat(2, axis=0), v.repeat(2, axis=0)
        if encoding == "nv24":
            pairs = np.stack([u.repeat(2, axis=1), v.repeat(2, axis=1)], axis=2)
            return np.concatenate([y, pairs.ravel()]).reshape(-1, width)
        chroma, y = np.stack([u, v], axis=2).reshape(height, width), y.reshape(height, width)
        return np.stack([y, chroma] if encoding in ("yuyv", "yuv422_yuy2") else [chroma, y], axis=2)
    if encoding in ("mono8", "mono16", "8UC1"):
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    ordered = rgb if encoding.startswith("rgb") else rgb[..., ::-1]
    has_alpha = "a" in encoding or "C4" in encoding
    return np.dstack([ordered, np.full((height, width), 77, np.uint8)]) if has_alpha else ordered


def packed(pixels: np.ndarray, encoding: str, height: int, padding: int = 0, big: bool = False) -> dict:
    """Fields of an Image of these rows: encoding, step, data, is_bigendian. padding: bytes behind each row."""
    rows = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")))
    rows = rows.reshape(len(pixels), -1).view(np.uint8)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    step = data.shape[1]
    if encoding == "nv24" and padding:  # rows of colours are twice as long
        colours = np.pad(rows[height:].reshape(height, -1), ((0, 0), (0, 2 * padding)), constant_values=99)
        data = np.concatenate([data[:height].ravel(), colours.ravel()])
    return {"encoding": encoding, "is_bigendian": int(big), "step": step, "data": data.ravel()}
