# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading files with errors that name them: text, JSON; images and depth, from a path or from bytes, as arrays."""

from __future__ import annotations

import codecs
import io
import json
import logging
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gld_ros.data.exr import read_exr
from gld_ros.errors import InvalidRequest

log = logging.getLogger(__name__)

#: Errors of Pillow for files that are no images, truncated, damaged or far too large.
UNREADABLE = (OSError, SyntaxError, TypeError, ValueError, struct.error, zlib.error, Image.DecompressionBombError)
ON_ITS_SIDE = (5, 6, 7, 8)  # values of the EXIF orientation that swap width and height
MILLIMETRE = 0.001  # metres
SAME_ASPECT = 0.02  # relative; sizes are rounded


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{file}: cannot be read ({error.strerror})") from None


def read_text(file: Path) -> str:
    """Content of a file. Raises InvalidRequest where it cannot be read or is no text."""
    content = _bytes(file)
    try:
        # Editors of Windows put a byte order mark first.
        return content.decode(
            "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{file}: no text ({error})") from None


def read_json(file: Path) -> Any:
    """Content of a file. Raises InvalidRequest where it cannot be read or is no JSON."""
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{file}: not valid JSON ({error}); is it truncated?") from None


def read_yaml(file: Path) -> dict[str, Any]:
    """Keys of a file. Raises InvalidRequest where it cannot be read or is no YAML with keys.

    The first line of what OpenCV writes, `%YAML:1.0`, is no YAML, and its matrices have a type of their own.
    """
    lines = read_text(file).replace("!!opencv-matrix", "").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("%YAML:"))
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise InvalidRequest(f"{file}: not valid YAML ({error})") from None
    if not isinstance(content, dict):
        raise InvalidRequest(f"{file}: {type(content).__name__}, keys with values are expected")
    return content


def image_size(source: Path | bytes, where: str) -> tuple[int, int]:
    """(width, height) from the header alone. Raises InvalidRequest where it is no image."""
    return image_sizes(source, where)[0]


def image_sizes(source: Path | bytes, where: str) -> list[tuple[int, int]]:
    """(width, height) as stored; then, where the EXIF orientation lays it on its side, as turned.

    Raises InvalidRequest where it is no image.
    """
    try:
        with Image.open(_stream(source)) as image:
            width, height = image.size
            # Pillow decodes a whole PNG to look for a tag that is not in its header.
            tags = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
            turned = tags.get(ExifTags.Base.Orientation) in ON_ITS_SIDE
            return [(width, height), (height, width)] if turned else [(width, height)]
    except UNREADABLE as error:
        raise InvalidRequest(f"{where}: not a readable image ({error})") from None


def read_rgb(
    source: Path | bytes, where: str, size: tuple[int, int] | None = None, turn: bool = False, masked: bool = False
) -> np.ndarray:
    """(H, W, 3) uint8 RGB of 8- or 16-bit grey or colour.

    turn: by the EXIF orientation, where that gives `size` and the stored image has another one. masked: `read_mask`
    reads transparent pixels; otherwise a warning says that they are taken for their colours.
    Raises InvalidRequest where it is missing, truncated or not of `size` (width, height).
    """
    pixels = _upright(source, where, size, turn)
    if pixels.mode.startswith("I;16"):  # 16-bit grey: keep the upper byte
        grey = (np.asarray(pixels) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if not masked and pixels.has_transparency_data and (np.asarray(pixels.convert("RGBA"))[..., 3] < 255).any():
        _warn_of_alpha(str(Path(where).parent))
    return np.array(pixels.convert("RGB"))


def read_mask(image: Path, mask: Path | None, size: tuple[int, int], turn: bool = False) -> np.ndarray | None:
    """(H, W) bool, True = usable: not 0 in the file `mask`, and not fully transparent in the image; None = all are.

    mask: of the image's size, or of another size and the same field of view. size, turn: as in `read_rgb`.
    Raises InvalidRequest where a file is unreadable or of another shape, or where nothing is left.
    """
    usable = np.ones((size[1], size[0]), bool)
    if mask is not None:
        usable &= resized_depth(np.asarray(_decoded(mask, str(mask)).convert("L")) > 0, str(mask), size)
    alpha = _alpha(image, size, turn)
    if alpha is not None:
        usable &= alpha > 0
        if ((alpha > 0) & (alpha < 255)).any():
            _warn_of_alpha(str(image.parent))
    if not usable.any():
        raise InvalidRequest(f"{mask or image}: excludes every pixel; 0 is what a mask excludes, other values are used")
    return None if usable.all() else usable


def _alpha(image: Path, size: tuple[int, int], turn: bool) -> np.ndarray | None:
    """(H, W) uint8; None for images without. The header says whether there is one."""
    try:
        with Image.open(image) as header:
            if not header.has_transparency_data:
                return None
    except UNREADABLE as error:
        raise InvalidRequest(f"{image}: not a readable image ({error})") from None
    return np.asarray(_upright(image, str(image), size, turn).convert("RGBA").getchannel("A"))


@cache
def _warn_of_alpha(folder: str) -> None:
    """Once a folder."""
    log.warning("%s: transparent pixels of its images are read as their colours; what is behind is not known", folder)


def read_depth(
    source: Path | bytes | np.ndarray, unit: float | None, where: str, size: tuple[int, int] | None = None
) -> np.ndarray:
    """(H, W) float32 depth: values of an image, an OpenEXR or .npy file, or an array, times `unit`; NaN where they are
    not above 0 or finite.

    unit: None takes whole numbers for millimetres. size: (width, height) to bring it to, from a smaller or larger one
    of the same field of view; values are repeated, never blended.
    Raises InvalidRequest where it is unreadable, of another shape, or of floats without a unit.
    """
    if isinstance(source, np.ndarray):
        raw = source
    elif isinstance(source, Path) and source.suffix == ".npy":
        raw = _array(source, where)
    elif where.lower().endswith(".exr"):
        raw = read_exr(source if isinstance(source, bytes) else _bytes(source), where)
    else:
        raw = np.asarray(_decoded(source, where))
    if raw.ndim == 3 and raw.shape[2] == 1:
        raw = raw[..., 0]
    if raw.ndim != 2:
        raise InvalidRequest(f"{where}: depth of the shape {raw.shape}, one channel of depth is expected")
    if raw.dtype.kind not in "uif":
        raise InvalidRequest(f"{where}: depth of the type {raw.dtype}, whole numbers or floats are expected")
    if unit is None and raw.dtype.kind == "f":
        raise InvalidRequest(
            f"{where}: holds floats, and depth_unit_scale_factor does not say of which unit: 1 (metres) or 0.001 "
            "(millimetres) is expected"
        )
    depth = np.where(np.isfinite(raw) & (raw > 0), raw * np.float32(MILLIMETRE if unit is None else unit), np.nan)
    return resized_depth(depth.astype(np.float32), where, size)


def resized_depth(depth: np.ndarray, where: str, size: tuple[int, int] | None) -> np.ndarray:
    """(H, W) depth, or a mask, of the same field of view at `size` (width, height); values are repeated, never blended.

    Raises InvalidRequest, naming `where`, for another shape.
    """
    height, width = depth.shape
    if size is None or size == (width, height):
        return depth
    if min(width, height) < 1 or abs(width * size[1] / (height * size[0]) - 1) > SAME_ASPECT:
        raise InvalidRequest(
            f"{where}: {width}x{height} pixels, {size[0]}x{size[1]} expected, or that field of view at another size"
        )
    rows, columns = ((np.arange(new) * 2 + 1) * old // (2 * new) for new, old in ((size[1], height), (size[0], width)))
    return depth[rows[:, None], columns]


def depth_image(depth: np.ndarray, unit: float = 0.001) -> Image.Image:
    """(H, W) depth as a uint16 image in steps of `unit`; 0 where it is NaN or does not fit."""
    steps = np.nan_to_num(depth / unit, nan=0.0, posinf=0.0, neginf=0.0)
    steps = np.where((steps >= 0) & (steps < 65535.5), np.rint(steps), 0)
    return Image.fromarray(steps.astype(np.uint16))


def _array(file: Path, where: str) -> np.ndarray:
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise InvalidRequest(f"{where}: not a readable .npy file ({error})") from None


def _decoded(source: Path | bytes, where: str) -> Image.Image:
    try:
        image = Image.open(_stream(source))
        image.load()
    except UNREADABLE as error:
        raise InvalidRequest(f"{where}: not a readable image ({error})") from None
    return image


def _upright(source: Path | bytes, where: str, size: tuple[int, int] | None, turn: bool) -> Image.Image:
    """An image of `size`, turned by its EXIF orientation where only that gives it."""
    pixels = _decoded(source, where)
    if turn and size is not None and pixels.size != size:
        pixels = ImageOps.exif_transpose(pixels)
    _check_size(pixels.size, where, size)
    return pixels


def _check_size(found: tuple[int, int], where: str, size: tuple[int, int] | None) -> None:
    if size is not None and found != size:
        raise InvalidRequest(f"{where}: {found[0]}x{found[1]} pixels, {size[0]}x{size[1]} expected")


def _stream(source: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source
