# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench start`: how long gld_node takes to start, and what that is spent on (docs/performance.md)."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from gld_ros.cli.bench import Output, app, ticks
from gld_ros.cli.options import DeviceKind, grouped
from gld_ros.errors import InvalidRequest


@app.command()
@grouped
def start(
    model: Annotated[str, Option(help="mini or the folder of a trained model")] = "mini",
    device: Annotated[DeviceKind, Option(help="where the model of the node runs")] = "auto",
    repeat: Annotated[int, Option(help="starts; the table shows the quickest")] = 3,
    *,
    output: Output,
) -> None:
    """Measure the start of gld_node over DDS: until it is active, until its first answer, and all parts of it."""
    try:
        from gld_ros.ros.bench import start
    except ImportError as error:
        raise InvalidRequest(f"`gld bench start` needs ROS 2 with this package built and sourced: {error}") from error
    with ticks(repeat, "starts of gld_node") as tick:
        figures = start.measure(model, device, repeat, tick)
    output.show("start", figures)
