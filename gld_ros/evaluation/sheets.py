# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Contact sheets of `gld eval` and `gld eval --away`, and the pictures themselves where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gld_ros.evaluation.methods import Picture
from gld_ros.evaluation.scenes import AwayScene, Scene
from gld_ros.reports.pictures import (
    CELL_WIDTH,
    Cell,
    Row,
    colour_depth,
    colour_spread,
    depth_range,
    draw_table,
    fit,
    outlined,
)

ROWS, HEIGHT = 8, 150  # of a sheet; of a cell, pixels
AWAY_ROWS, AWAY_HEIGHT, AWAY_SAMPLES = 12, 144, 3  # scenes that are shown; pixels of a cell; samples of a row
MOST_SPREAD = 0.5  # spread of log depth that the brightest colour stands for


class Gallery:
    """Collects rows while scenes go by (a `protocol.Watcher`); writes sheets of them.

    out: folder of the sheets. limit: scenes that are shown, the first target but one of each. save_views: write every
    picture as OUT/views/METHOD/SCENE/TARGET.png, which `--peer` reads.
    """

    def __init__(self, out: Path, limit: int = 16, save_views: bool = False) -> None:
        self.out, self.limit, self.save_views = out, limit, save_views
        self._rows: list[Row] = []

    def __call__(
        self, scene: Scene, pictures: dict[str, list[Picture | None]], unobserved: list[np.ndarray | None]
    ) -> None:
        if self.save_views:
            for method, made in pictures.items():
                self._save(self.out / "views" / method / scene.name, scene.names, made)
        if len(self._rows) >= self.limit:
            return
        k = len(scene.targets) // 2
        target, model = scene.targets[k], next(iter(pictures.values()))[k]
        made_depth = None if model is None else model.depth
        depths = [depth for depth in (target.depth, made_depth) if depth is not None]
        near, far = depth_range(depths[:1])
        cells: dict[str, Cell] = {"first source": scene.sources[0].image, "last source": scene.sources[-1].image}
        cells["real (left out)"] = target.image
        for method, made in pictures.items():
            picture = made[k]
            cells[method] = None if picture is None else picture.image
        cells["real depth"] = None if target.depth is None else colour_depth(target.depth, near, far)
        cells["model depth"] = None if made_depth is None else colour_depth(made_depth, near, far)
        hidden = unobserved[k]
        white = None if hidden is None else np.repeat(np.where(hidden, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
        cells["unobserved (white)"] = white
        title = f"{scene.group}  {scene.name}  target {scene.names[k]}  depth {near:.2g} to {far:.2g} {scene.unit}"
        # Small ones are kept: many pictures wait here.
        small = {
            name: None if cell is None else np.asarray(fit(cell, CELL_WIDTH, HEIGHT)) for name, cell in cells.items()
        }
        self._rows.append((title, small))

    def write(self) -> list[tuple[str, Path]]:
        """Write the sheets; (title, PNG file) of each."""
        found = []
        for start in range(0, len(self._rows), ROWS):
            rows = self._rows[start : start + ROWS]
            path = self.out / f"sheet_{start // ROWS}.png"
            draw_table(rows, HEIGHT).save(path)
            found.append((f"Scenes {start + 1} to {start + len(rows)}", path))
        return found

    @staticmethod
    def _save(folder: Path, names: Sequence[str], pictures: list[Picture | None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in zip(names, pictures, strict=True):
            if picture is not None:
                Image.fromarray(picture.image).save(folder / f"{name}.png")
                if picture.depth is not None:
                    np.save(folder / f"{name}_depth.npy", picture.depth.astype(np.float32))


class AwaySheet:
    """Collects a row of each of the first AWAY_ROWS scenes (an `away.AwayWatcher`), of another target in every row."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def __call__(self, scene: AwayScene, samples: list[list[Picture]], fill: list[Picture]) -> None:
        count = len(self._rows)
        if count >= AWAY_ROWS:
            return
        k = count % len(scene.scene.targets)
        self._rows.append(_away_row(scene, k, [sample[k] for sample in samples], fill[k]))

    def write(self, path: Path) -> None:
        """Write the rows as one PNG; nothing without rows."""
        if self._rows:
            draw_table(self._rows, AWAY_HEIGHT).save(path)


def _away_row(scene: AwayScene, k: int, samples: list[Picture], fill: Picture) -> Row:
    """Title and pictures of target k."""
    real = scene.scene.targets[k]
    cells: dict[str, Cell] = {f"source {i + 1}": view.image for i, view in enumerate(scene.scene.sources)}
    cells["truth (unobserved outlined)"] = outlined(real.image, scene.unobserved[k])
    cells["smooth fill"] = fill.image
    for i, sample in enumerate(samples[:AWAY_SAMPLES]):
        generated = np.zeros_like(scene.unobserved[k]) if sample.seen is None else ~sample.seen
        cells[f"sample {i + 1} (generated)"] = outlined(sample.image, generated)
    known = [depth for depth in (real.depth, samples[0].depth) if depth is not None]
    near, far = depth_range(known[:1])
    cells["true depth"] = None if real.depth is None else colour_depth(real.depth, near, far)
    depths = [sample.depth for sample in samples if sample.depth is not None]
    cells["depth of sample 1"] = colour_depth(depths[0], near, far) if depths else None
    spread = np.log(np.stack(depths)).std(axis=0, ddof=1) if len(depths) > 1 else None
    cells[f"spread of log depth, 0 to {MOST_SPREAD:g}"] = None if spread is None else colour_spread(spread, MOST_SPREAD)
    share = scene.unobserved[k].mean()
    title = f"{scene.scene.name}  target {scene.scene.names[k]}  {share:.0%} unobserved"
    return f"{title}  depth {near:.2g} to {far:.2g} {scene.scene.unit}", cells
