# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Contact sheets of an evaluation, and the pictures themselves where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gld_ros.evaluation.baselines import Picture
from gld_ros.evaluation.scenes import Scene
from gld_ros.reports.pictures import CELL_WIDTH, Cell, colour_depth, depth_range, draw_table, fit

ROWS, HEIGHT = 8, 150  # of a sheet; of a cell, pixels


class Gallery:
    """Collects rows while scenes go by (a `protocol.Watcher`); writes sheets of them.

    out: folder of the sheets. limit: scenes that are shown, the first target but one of each. save_views: write every
    picture as OUT/views/METHOD/SCENE/TARGET.png, which `--peer` reads.
    """

    def __init__(self, out: Path, limit: int = 16, save_views: bool = False) -> None:
        self.out, self.limit, self.save_views = out, limit, save_views
        self._rows: list[tuple[str, dict[str, Cell]]] = []

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
            columns = list(dict.fromkeys(name for _, cells in rows for name in cells))
            draw_table(columns, [(title, [cells.get(c) for c in columns]) for title, cells in rows], HEIGHT).save(path)
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
