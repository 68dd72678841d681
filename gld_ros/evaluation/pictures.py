# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: contact sheets, coloured depth, a point cloud seen from two sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gld_ros.data.ply import Points
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import invert, look_at

#: (H, W, 3) uint8 of a table; None where there is nothing to show.
Cell = np.ndarray | None

# Near to far: yellow, orange, red, purple, blue, black-blue; nearly even in lightness.
DEPTH_COLOURS = np.array(
    [[252, 253, 191], [254, 180, 90], [240, 96, 75], [180, 54, 122], [102, 38, 129], [40, 30, 100], [6, 8, 36]], float
)
UNKNOWN = np.array([128, 128, 128], np.uint8)
GENERATED = np.array([255, 60, 200], np.uint8)
BACKGROUND = (225, 228, 235)
MARGIN, BAR, TEXT, TITLE_WIDTH, CELL_WIDTH = 4, 14, 15, 108, 300  # pixels


@dataclass(frozen=True)
class SheetRow:
    """One requested view. Images (H, W, 3) uint8, depth (H, W) float32 NaN unknown, generated (H, W) bool."""

    title: str
    sources: list[np.ndarray]
    synthesized: np.ndarray
    depth: np.ndarray
    generated: np.ndarray
    real: np.ndarray | None = None
    real_depth: np.ndarray | None = None


def colour_depth(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """(H, W, 3) uint8 of depth (H, W), logarithmic between `near` (bright) and `far` (dark); grey where unknown."""
    known = np.isfinite(depth) & (depth > 0)
    share = np.log(np.where(known, depth, near) / near) / np.log(far / near)
    position = np.clip(share, 0, 1) * (len(DEPTH_COLOURS) - 1)
    knots = np.arange(len(DEPTH_COLOURS))
    colours = np.stack([np.interp(position, knots, DEPTH_COLOURS[:, c]) for c in range(3)], axis=-1)
    return np.where(known[..., None], np.rint(colours).astype(np.uint8), UNKNOWN)


def depth_range(depths: list[np.ndarray]) -> tuple[float, float]:
    """Near and far end of the colours for these (H, W) maps: the 2nd and 98th percentile of what is known."""
    known = [depth[np.isfinite(depth) & (depth > 0)] for depth in depths]
    values = np.concatenate(known) if known else np.empty(0)
    if not values.size:
        return 0.5, 5.0
    near, far = (float(v) for v in np.percentile(values, (2, 98)))
    return near, max(far, near * 1.1)


def contact_sheet(rows: list[SheetRow], height: int = 150, unit: str = "m") -> Image.Image:
    """One row a view: sources | real | synthesized | real depth | synthesized depth | generated mask.

    height: of a cell, pixels; less for panoramas. unit: of the depths, for the colour bar, which all rows share.
    Raises ValueError without rows.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    real_depths = [row.real_depth for row in rows if row.real_depth is not None]
    near, far = depth_range(real_depths or [row.depth for row in rows])
    columns = max(len(row.sources) for row in rows)
    titles = [f"source {index + 1}" for index in range(columns)]
    titles += ["real (left out)", "synthesized", "real depth", "synthesized depth", "generated (white)"]
    table = []
    for row in rows:
        cells: list[Cell] = [
            *row.sources,
            *[None] * (columns - len(row.sources)),
            row.real,
            row.synthesized,
        ]
        cells.append(None if row.real_depth is None else colour_depth(row.real_depth, near, far))
        cells.append(colour_depth(row.depth, near, far))
        cells.append(np.repeat(np.where(row.generated, 255, 0).astype(np.uint8)[..., None], 3, axis=2))
        table.append(cells)
    sheet = draw_table(titles, [(row.title, cells) for row, cells in zip(rows, table, strict=True)], height, BAR + TEXT)
    _colour_bar(sheet, ImageDraw.Draw(sheet), ImageFont.load_default(), near, far, unit)
    return sheet


def draw_table(
    columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Cell]]], height: int, room_below: int = 0
) -> Image.Image:
    """Pictures in a table: `columns` on top, every row's title above its cells. None: "unknown".

    height: of a cell, pixels; its width follows the widest picture, within CELL_WIDTH. room_below: pixels left free.
    """
    aspect = max(cell.shape[1] / cell.shape[0] for _, cells in rows for cell in cells if cell is not None)
    height = min(height, round(CELL_WIDTH / aspect))
    width = max(TITLE_WIDTH, round(height * aspect))
    font = ImageFont.load_default()
    step_x, step_y = width + MARGIN, height + TEXT + MARGIN
    size = (MARGIN + step_x * len(columns), 3 * MARGIN + TEXT + step_y * len(rows) + room_below)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        draw.text((MARGIN + column * step_x, MARGIN), title, "black", font)
    for line, (title, cells) in enumerate(rows):
        y = MARGIN + TEXT + line * step_y
        draw.text((MARGIN, y), title, "black", font)
        for column, cell in enumerate(cells):
            corner = (MARGIN + column * step_x, y + TEXT)
            if cell is None:
                draw.text((corner[0] + 6, corner[1] + 6), "unknown", "grey", font)
            else:
                sheet.paste(fit(cell, width, height), corner)
    return sheet


def fit(image: np.ndarray, width: int, height: int) -> Image.Image:
    """`image` as large as fits into width x height, shape kept."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return Image.fromarray(image).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)


def _colour_bar(sheet: Image.Image, draw: ImageDraw.ImageDraw, font, near: float, far: float, unit: str) -> None:
    y = sheet.height - BAR - TEXT - MARGIN
    length = min(400, sheet.width - 2 * MARGIN - 60)
    ramp = np.geomspace(near, far, length)[None].repeat(BAR, axis=0)
    sheet.paste(Image.fromarray(colour_depth(ramp, near, far)), (MARGIN, y))
    for share in (0, 0.25, 0.5, 0.75, 1):
        value = near * (far / near) ** share
        draw.text((MARGIN + share * (length - 1), y + BAR), f"{value:.3g} {unit}", "black", font)
    draw.text((MARGIN + length + 20, y), "grey: unknown", "black", font)


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
