# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld calibrate`: how fast this machine is with a model, measured and kept for requests with a time budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from gld_ros.cli.options import Device, Dtype, Offload, track
from gld_ros.errors import InvalidRequest

if TYPE_CHECKING:
    from gld_ros.pipeline.costs import CostModel
    from gld_ros.pipeline.pipeline import GLDPipeline


def calibrate(
    model: Annotated[str, Argument(help="name, model folder or Hub id")] = "mini",
    device: Device = None,
    dtype: Dtype = None,
    offload: Offload = None,
    repeat: Annotated[int, Option(help="requests of each kind")] = 5,
    out: Annotated[Path | None, Option(metavar="FILE", help="write it there, not to the user's cache folder")] = None,
) -> None:
    """Measure this machine's speed for requests with a time budget."""
    from gld_ros.pipeline.calibration import identity, measure, save, stored_at
    from gld_ros.pipeline.pipeline import GLDPipeline

    if repeat < 1:
        raise InvalidRequest(f"{repeat} repeats, expected at least 1")
    pipe = GLDPipeline.from_pretrained(model, device, dtype, offload)
    costs = measure(pipe, repeat, progress=lambda probes: track(probes, pipe.name))
    path = out or stored_at(pipe)
    save(path, costs, identity(pipe))
    print(expected(pipe, costs))
    print(f"\nAt worst {costs.spread:.2f} times as long. Written to {path}")


def expected(pipe: GLDPipeline, model: CostModel) -> str:
    """Seconds of a request by preset, as a table."""
    from gld_ros.generators.method import Options
    from gld_ros.generators.presets import presets
    from gld_ros.pipeline.budget import seconds
    from gld_ros.pipeline.calibration import Probe, wall_views
    from gld_ros.pipeline.costs import demands
    from gld_ros.pipeline.request import working_size
    from gld_ros.reports.tables import markdown

    config, rows = pipe.net.config, []
    sources, targets = wall_views(Probe(2, 1, (480, 640)))
    for preset in presets(config).values():
        options = Options(working_size(targets[0], config), preset)
        schedule = model.schedule(demands(config, [source.camera for source in sources], targets, options))
        rows.append([preset.name, seconds(schedule), *(sum(steps) for steps in schedule.values())])
    return markdown(["2+1 views 640x480", "s", *(f"{phase} s" for phase in schedule)], rows)
