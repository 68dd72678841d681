# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plots as PNG files, by matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gld_ros.extras import require


@contextmanager
def plot(path: Path, size: tuple[float, float] = (8, 4.5), columns: int = 1, **labels: Any) -> Iterator[Any]:
    """Axes to draw into (an array of them where there are several columns), saved as `path` at the end.

    size: inches. labels: for `Axes.set`, e.g. xlabel. Raises InvalidRequest without matplotlib.
    """
    require("plots", "a plot")
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, columns)
    yield axes
    if labels:
        axes.set(**labels)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
