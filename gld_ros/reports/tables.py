# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tables for a terminal; they are Markdown at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of `cell` texts."""
    grid = [list(columns), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in grid) for i in range(len(columns))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in grid]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def cell(value: Any) -> str:
    """Numbers with four digits, an estimate ({mean, low, high}) as mean [low .. high], a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        span = "" if value["low"] is None else f" [{value['low']:.4g} .. {value['high']:.4g}]"
        return f"{value['mean']:.4g}{span}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
