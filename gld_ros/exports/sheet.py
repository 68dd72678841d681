# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The contact sheet of a made scene: sources, and views along the path with depth and confidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ImageDraw, ImageFont

from gld_ros.exports.made_scene import MadeScene
from gld_ros.reports.pictures import (
    BAR,
    BAR_LENGTH,
    MARGIN,
    TEXT,
    TICKS,
    Cell,
    colour_depth,
    depth_range,
    draw_colour_bar,
    draw_table,
    outlined,
)
from gld_ros.scene.ply import Points

#: Rows of given images and of views at most, pixels of a cell.
GIVEN, ROWS, HEIGHT = 2, 8, 150


def write_sheet(out: Path, scene: MadeScene, points: Points) -> None:
    """sheet.png: of a long path, views evenly along it. The notes of the scene stand at its foot."""
    near, far = depth_range([view.depth for view in scene.views])
    chosen = np.unique(np.linspace(0, len(scene.views) - 1, min(ROWS, len(scene.views))).round().astype(int))
    rows: list[tuple[str, dict[str, Cell]]] = []
    for k, source in enumerate(scene.sources[:GIVEN]):
        cells: dict[str, Cell] = {"image": source.image}
        if scene.observed:
            seen = scene.observed[k]
            cells |= {"depth": colour_depth(seen.depth, near, far), "confidence": _grey(seen.confidence)}
        rows.append((f"given {k}", cells))
    for k in chosen:
        view = scene.views[k]
        depth, sure = colour_depth(view.depth, near, far), _grey(view.confidence)
        rows.append((f"view {k}", {"image": outlined(view.image, view.generated), "depth": depth, "confidence": sure}))
    notes = ["orange line: around what was generated; confidence: white = sure", *scene.notes]
    sheet = draw_table(rows, HEIGHT, ["image", "depth", "confidence"], BAR + TEXT + TEXT * len(notes))
    labels = [f"{depth:.3g} {scene.unit}" for depth in np.geomspace(near, far, BAR_LENGTH)[TICKS]]
    draw_colour_bar(sheet, MARGIN, colour_depth(np.geomspace(near, far, BAR_LENGTH)[None], near, far), labels)
    draw = ImageDraw.Draw(sheet)
    for line, note in enumerate(notes):
        place = (MARGIN, sheet.height - BAR - MARGIN - TEXT - TEXT * (len(notes) - line))
        draw.text(place, note, "black", ImageFont.load_default())
    sheet.save(out / "sheet.png")


def _grey(confidence: np.ndarray) -> np.ndarray:
    return (confidence[..., None] * 255).astype(np.uint8).repeat(3, axis=2)
