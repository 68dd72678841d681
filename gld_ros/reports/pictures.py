# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: tables of them, coloured depth, a point cloud seen from two sides."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import invert, look_at
from gld_ros.scene.ply import Points

#: (H, W, 3) uint8 of a table; None where there is nothing to show.
Cell = np.ndarray | None
#: A table's row: its title, and its cells by the names of their columns.
Row = tuple[str, dict[str, Cell]]

# Near to far: yellow, orange, red, purple, blue, black-blue; nearly even in lightness.
DEPTH_COLOURS = np.array(
    [[252, 253, 191], [254, 180, 90], [240, 96, 75], [180, 54, 122], [102, 38, 129], [40, 30, 100], [6, 8, 36]], float
)
# None to much: blue-black, blue, green, yellow; not to be taken for a depth.
SPREAD_COLOURS = np.array([[10, 16, 44], [18, 74, 122], [34, 146, 130], [140, 200, 80], [252, 240, 120]], float)
UNKNOWN = np.array([128, 128, 128], np.uint8)
OUTLINE = np.array([255, 140, 0], np.uint8)
GENERATED = np.array([255, 60, 200], np.uint8)
BACKGROUND = (225, 228, 235)
MARGIN, BAR, TEXT, TITLE_WIDTH, CELL_WIDTH = 4, 14, 15, 108, 300  # pixels
BAR_LENGTH, TICKS = 300, [0, 75, 150, 225, 299]  # of a colour bar and where its labels stand, pixels
LEAST_SPREAD = 0.1  # of log depth, that the colours reach


def colour_depth(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """(H, W, 3) uint8 of depth (H, W), logarithmic between `near` (bright) and `far` (dark); grey where unknown."""
    known = np.isfinite(depth) & (depth > 0)
    share = np.log(np.where(known, depth, near) / near) / np.log(far / near)
    return np.where(known[..., None], _colours(share, DEPTH_COLOURS), UNKNOWN)


def colour_spread(spread: np.ndarray, most: float) -> np.ndarray:
    """(H, W, 3) uint8 of spread (H, W), from 0 (dark) to `most` (bright); grey where unknown."""
    known = np.isfinite(spread)
    return np.where(known[..., None], _colours(np.where(known, spread, 0) / most, SPREAD_COLOURS), UNKNOWN)


def _colours(share: np.ndarray, table: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of share (H, W) in 0..1, beyond it the nearest end of `table` (N, 3)."""
    position = np.clip(share, 0, 1) * (len(table) - 1)
    knots = np.arange(len(table))
    return np.stack([np.rint(np.interp(position, knots, table[:, c])) for c in range(3)], axis=-1).astype(np.uint8)


def outlined(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """A copy of image (H, W, 3) uint8 with a thin orange line around `region` (H, W) bool, without its specks."""
    smooth = cv2.medianBlur(region.astype(np.uint8), max(3, region.shape[1] // 20 | 1))
    around = np.pad(smooth, 1)  # so that the line is closed along the picture's edge, too
    inner = cv2.erode(around, np.ones((3, 3), np.uint8), iterations=max(1, region.shape[1] // 160))
    line = (around > inner)[1:-1, 1:-1]
    return np.where(line[..., None], OUTLINE, image)


def depth_range(depths: list[np.ndarray]) -> tuple[float, float]:
    """Near and far end of the colours for these (H, W) maps: the 2nd and 98th percentile of what is known."""
    known = [depth[np.isfinite(depth) & (depth > 0)] for depth in depths]
    values = np.concatenate(known) if known else np.empty(0)
    if not values.size:
        return 0.5, 5.0
    near, far = (float(v) for v in np.percentile(values, (2, 98)))
    return near, max(far, near * 1.1)


def draw_table(
    rows: Sequence[Row], height: int, columns: Sequence[str] | None = None, room_below: int = 0
) -> Image.Image:
    """Pictures in a table: the names of the columns on top, every row's title above its cells. None: "unknown".

    height: of a cell, pixels; its width follows the widest picture, within CELL_WIDTH. columns: those of the rows, in
    the order in which they come, by default. room_below: pixels left free.
    """
    columns = columns or list(dict.fromkeys(name for _, cells in rows for name in cells))
    aspect = max(cell.shape[1] / cell.shape[0] for _, cells in rows for cell in cells.values() if cell is not None)
    height = min(height, round(CELL_WIDTH / aspect))
    width = max(TITLE_WIDTH, round(height * aspect))
    font = ImageFont.load_default()
    step_x, step_y = width + MARGIN, height + TEXT + MARGIN
    size = (MARGIN + step_x * len(columns), 3 * MARGIN + TEXT + step_y * len(rows) + room_below)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(columns):
        x = MARGIN + column * step_x
        draw.text((x, MARGIN), name, "black", font)
        for line, (_, cells) in enumerate(rows):
            y, cell = MARGIN + TEXT + line * step_y + TEXT, cells.get(name)
            if cell is None:
                draw.text((x + 6, y + 6), "unknown", "grey", font)
            else:
                sheet.paste(fit(cell, width, height), (x, y))
    for line, (title, _) in enumerate(rows):
        draw.text((MARGIN, MARGIN + TEXT + line * step_y), title, "black", font)
    return sheet


def fit(image: np.ndarray, width: int, height: int) -> Image.Image:
    """`image` as large as fits into width x height, shape kept."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return Image.fromarray(image).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)


def spread_range(spreads: list[np.ndarray]) -> float:
    """The brightest spread: the 98th percentile of what is known, at least LEAST_SPREAD."""
    known = [spread[np.isfinite(spread)] for spread in spreads]
    values = np.concatenate([*known, [0.0]])
    return max(float(np.percentile(values, 98)), LEAST_SPREAD)


def draw_colour_bar(sheet: Image.Image, x: int, colours: np.ndarray, labels: list[str]) -> int:
    """Draw colours (1, BAR_LENGTH, 3) with `labels` at TICKS at the foot of `sheet`; returns where room is left."""
    y = sheet.height - BAR - TEXT - MARGIN
    sheet.paste(Image.fromarray(colours.repeat(BAR, axis=0)), (x, y))
    draw = ImageDraw.Draw(sheet)
    for tick, label in zip(TICKS, labels, strict=True):
        draw.text((x + tick, y + BAR), label, "black", ImageFont.load_default())
    return x + BAR_LENGTH + 60


def cloud_picture(points: Points, cameras: list[Camera], size: int = 480) -> Image.Image:
    """The cloud from two sides (left and right behind the cameras), each `size` x `size`; generated points tinted.

    cameras: those that saw it (drawn red); their mean up and forward directions set the sides. Raises ValueError
    without cameras.
    """
    if not cameras:
        raise ValueError("the picture of a cloud needs at least one camera to look from")
    finite = np.isfinite(points.xyz).all(axis=1)
    xyz = points.xyz[finite].astype(np.float64)
    rgb = np.where(points.generated[finite, None], points.rgb[finite] // 2 + GENERATED // 2, points.rgb[finite])
    centers = np.array([camera.center for camera in cameras])
    up = -np.mean([camera.c2w[:3, 1] for camera in cameras], axis=0)
    forward = np.mean([camera.forward for camera in cameras], axis=0)
    up, forward = up / np.linalg.norm(up), forward / np.linalg.norm(forward)
    right = np.cross(forward, up)
    middle = np.median(xyz, axis=0) if len(xyz) else centers.mean(axis=0) + forward
    radius = max(float(np.percentile(np.linalg.norm(xyz - middle, axis=1), 90)), 1e-6) if len(xyz) else 1.0
    sheet = Image.new("RGB", (2 * size + MARGIN, size + TEXT), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (side, title) in enumerate(((-1, "from the left"), (1, "from the right"))):
        eye = middle + radius * (-1.9 * forward + 1.5 * side * right + 1.1 * up)
        pixels = _draw_points(xyz, rgb, look_at(eye, middle, up), size, 2)
        pixels = _draw_points(
            centers, np.array([[220, 0, 0]] * len(centers)), look_at(eye, middle, up), size, 5, pixels
        )
        sheet.paste(Image.fromarray(pixels), (index * (size + MARGIN), TEXT))
        draw.text((index * (size + MARGIN) + MARGIN, 1), f"{title}; pink: generated, red: cameras", "black")
    return sheet


def _draw_points(
    xyz: np.ndarray, rgb: np.ndarray, c2w: np.ndarray, size: int, dot: int, pixels: np.ndarray | None = None
) -> np.ndarray:
    """(size, size, 3) uint8: points (N, 3) as squares of `dot` pixels, the nearest on top."""
    pixels = np.full((size, size, 3), 255, np.uint8) if pixels is None else pixels
    w2c = invert(c2w)
    local = xyz @ w2c[:3, :3].T + w2c[:3, 3]
    front = local[:, 2] > 1e-9
    local, rgb = local[front], rgb[front]
    order = np.argsort(-local[:, 2], kind="stable")  # far to near: what is written last stays
    u, v = (np.floor(0.9 * size * local[order, :2] / local[order, 2:] + size / 2)).astype(np.int64).T
    for dy in range(dot):
        for dx in range(dot):
            inside = (u + dx >= 0) & (u + dx < size) & (v + dy >= 0) & (v + dy < size)
            pixels[v[inside] + dy, u[inside] + dx] = rgb[order][inside]
    return pixels
