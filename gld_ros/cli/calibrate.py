# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld calibrate`: how fast this machine is with a model, measured and kept for requests with a time budget."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from gld_ros.pipeline.costs import CostModel
    from gld_ros.pipeline.pipeline import GLDPipeline


def add_parser(subparsers) -> None:
    """Add `gld calibrate`."""
    parser = subparsers.add_parser("calibrate", help="measure this machine's speed for requests with a time budget")
    parser.add_argument("model", nargs="?", default="mini", help="name, model folder or Hub id (default mini)")
    parser.add_argument("--device", help="cuda or cpu (default: the best there is)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the weights (default: the device's best)")
    parser.add_argument("--offload", choices=("sequential",), help="keep only the component at work on the GPU")
    parser.add_argument("--repeat", type=int, default=5, help="requests of each kind (default %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there, not to the user's cache folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, store, and say what to expect."""
    from gld_ros.errors import InvalidRequest
    from gld_ros.pipeline.calibration import identity, measure, save, stored_at
    from gld_ros.pipeline.pipeline import GLDPipeline

    if args.repeat < 1:
        raise InvalidRequest(f"{args.repeat} repeats, expected at least 1")
    pipe = GLDPipeline.from_pretrained(args.model, args.device, args.dtype, args.offload)
    model = measure(pipe, args.repeat, progress=partial(tqdm, desc=pipe.name, leave=False, disable=None))
    path = args.out or stored_at(pipe)
    save(path, model, identity(pipe))
    print(expected(pipe, model))
    print(f"\nAt worst {model.spread:.2f} times as long. Written to {path}")
    return 0


def expected(pipe: GLDPipeline, model: CostModel) -> str:
    """Seconds of a request by preset, as a table."""
    from gld_ros.generators.method import Options
    from gld_ros.generators.presets import presets
    from gld_ros.pipeline.budget import seconds
    from gld_ros.pipeline.calibration import Probe, wall_views
    from gld_ros.pipeline.costs import demands
    from gld_ros.pipeline.request import working_size
    from gld_ros.reports.benchmark_tables import markdown

    config, rows = pipe.net.config, []
    sources, targets = wall_views(Probe(2, 1, (480, 640)))
    for preset in presets(config).values():
        options = Options(working_size(targets[0], config), preset)
        schedule = model.schedule(demands(config, [source.camera for source in sources], targets, options))
        rows.append([preset.name, seconds(schedule), *(sum(steps) for steps in schedule.values())])
    return markdown(["2+1 views 640x480", "s", *(f"{phase} s" for phase in schedule)], rows)
