# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench growth`: how costs grow with views, pixels, key frames, paths and maps (docs/performance.md)."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from gld_ros.cli.bench import Model, Output, Running, app, ticks
from gld_ros.cli.options import grouped
from gld_ros.errors import InvalidRequest


@app.command()
@grouped
def growth(
    model: Model = "mini",
    most: Annotated[int, Option(help="largest size of each axis, to be quick; 0: all")] = 0,
    repeat: Annotated[int, Option(help="runs of each size; the quickest counts")] = 3,
    *,
    running: Running,
    output: Output,
) -> None:
    """Measure how costs grow with views, pixels, key frames, views of a path and voxels of the map."""
    from gld_ros.benchmarks import growth

    if repeat < 1 or most < 0:
        raise InvalidRequest(f"--repeat {repeat}, --most {most}: expected at least 1, and 0 or more")
    sizes = growth.Sizes().up_to(most) if most else growth.Sizes()
    with running.opened(model) as (pipe, _), ticks(sizes.total, "growth") as tick:
        figures = growth.measure(pipe, sizes, repeat, lambda: tick(None))
    output.show("growth", figures)
