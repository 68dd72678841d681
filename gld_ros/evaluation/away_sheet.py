# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The contact sheet of views that look away: what was there, the smooth fill, three samples and how they differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gld_ros.evaluation.away_scenes import AwayScene
from gld_ros.evaluation.baselines import Picture
from gld_ros.reports.pictures import Cell, colour_depth, colour_spread, depth_range, draw_table, outlined

ROWS, HEIGHT, SAMPLES = 12, 144, 3  # scenes that are shown; pixels of a cell; samples of a row
MOST = 0.5  # spread of log depth that the brightest colour stands for


class AwaySheet:
    """Collects a row of each of the first ROWS scenes (an `away.AwayWatcher`), of another target in every row."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, dict[str, Cell]]] = []

    def __call__(self, scene: AwayScene, samples: list[list[Picture]], fill: list[Picture]) -> None:
        count = len(self._rows)
        if count >= ROWS:
            return
        k = count % len(scene.scene.targets)
        self._rows.append(_row(scene, k, [sample[k] for sample in samples], fill[k]))

    def write(self, path: Path) -> None:
        """Write the rows as one PNG; nothing without rows."""
        if self._rows:
            columns = list(dict.fromkeys(name for _, cells in self._rows for name in cells))
            rows = [(title, [cells.get(name) for name in columns]) for title, cells in self._rows]
            draw_table(columns, rows, HEIGHT).save(path)


def _row(scene: AwayScene, k: int, samples: list[Picture], fill: Picture) -> tuple[str, dict[str, Cell]]:
    """Title and pictures of target k."""
    real = scene.scene.targets[k]
    cells: dict[str, Cell] = {f"source {i + 1}": view.image for i, view in enumerate(scene.scene.sources)}
    cells["truth (unobserved outlined)"] = outlined(real.image, scene.unobserved[k])
    cells["smooth fill"] = fill.image
    for i, sample in enumerate(samples[:SAMPLES]):
        generated = np.zeros_like(scene.unobserved[k]) if sample.seen is None else ~sample.seen
        cells[f"sample {i + 1} (generated)"] = outlined(sample.image, generated)
    known = [depth for depth in (real.depth, samples[0].depth) if depth is not None]
    near, far = depth_range(known[:1])
    cells["true depth"] = None if real.depth is None else colour_depth(real.depth, near, far)
    depths = [sample.depth for sample in samples if sample.depth is not None]
    cells["depth of sample 1"] = colour_depth(depths[0], near, far) if depths else None
    spread = np.log(np.stack(depths)).std(axis=0, ddof=1) if len(depths) > 1 else None
    cells[f"spread of log depth, 0 to {MOST:g}"] = None if spread is None else colour_spread(spread, MOST)
    share = scene.unobserved[k].mean()
    title = f"{scene.scene.name}  target {scene.scene.names[k]}  {share:.0%} unobserved"
    return f"{title}  depth {near:.2g} to {far:.2g} {scene.scene.unit}", cells
