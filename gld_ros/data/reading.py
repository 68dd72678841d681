# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading files with errors that name them: text, JSON; images and depth, from a path or from bytes, as arrays."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gld_ros.errors import InvalidRequest

#: Errors of Pillow for files that are no images, truncated, damaged or far too large.
UNREADABLE = (OSError, SyntaxError, TypeError, ValueError, struct.error, zlib.error, Image.DecompressionBombError)


def read_text(file: Path) -> str:
    """Content of a file. Raises InvalidRequest where it cannot be read or is no text."""
    try:
        return file.read_text()
    except OSError as error:
        raise InvalidRequest(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{file}: no text ({error})") from None


def read_json(file: Path) -> Any:
    """Content of a file. Raises InvalidRequest where it cannot be read or is no JSON."""
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{file}: not valid JSON ({error}); is it truncated?") from None


def image_size(source: Path | bytes, where: str) -> tuple[int, int]:
    """(width, height) from the header alone. Raises InvalidRequest where it is no image."""
    try:
        with Image.open(_stream(source)) as image:
            return image.size
    except UNREADABLE as error:
        raise InvalidRequest(f"{where}: not a readable image ({error})") from None


def read_rgb(source: Path | bytes, where: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of 8- or 16-bit grey or colour.

    Raises InvalidRequest where it is missing, truncated or not of `size` (width, height).
    """
    pixels = _decoded(source, where, size)
    if pixels.mode.startswith("I;16"):  # 16-bit grey: keep the upper byte
        grey = (np.asarray(pixels) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.array(pixels.convert("RGB"))


def read_depth(source: Path | bytes, unit: float, where: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W) float32 depth: pixel values times `unit`, NaN where they are 0. Raises InvalidRequest as `read_rgb`."""
    raw = np.asarray(_decoded(source, where, size))
    if raw.ndim != 2:
        raise InvalidRequest(f"{where}: {raw.shape[2]} channels, one channel of depth is expected")
    return np.where(raw > 0, raw * np.float32(unit), np.nan).astype(np.float32)


def depth_image(depth: np.ndarray, unit: float = 0.001) -> Image.Image:
    """(H, W) depth as a uint16 image in steps of `unit`; 0 where it is NaN or does not fit."""
    steps = np.nan_to_num(depth / unit, nan=0.0, posinf=0.0, neginf=0.0)
    steps = np.where((steps >= 0) & (steps < 65535.5), np.rint(steps), 0)
    return Image.fromarray(steps.astype(np.uint16))


def _decoded(source: Path | bytes, where: str, size: tuple[int, int] | None) -> Image.Image:
    try:
        image = Image.open(_stream(source))
        image.load()
    except UNREADABLE as error:
        raise InvalidRequest(f"{where}: not a readable image ({error})") from None
    if size is not None and image.size != size:
        raise InvalidRequest(f"{where}: {image.size[0]}x{image.size[1]} pixels, {size[0]}x{size[1]} expected")
    return image


def _stream(source: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source
