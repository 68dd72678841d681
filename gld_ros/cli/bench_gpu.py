# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench factors` and `gld bench gpu`: what the gains are worth, and all checks and figures of a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from gld_ros.cli.bench import Model, OneSize, OneViews, Output, app, ticks
from gld_ros.cli.options import Device, SeveralValues, grouped


@app.command(cls=SeveralValues)
@grouped
def factors(
    model: Model = "gld-da3",
    views: OneViews = "2+1",
    size: OneSize = "504x280",
    steps: Annotated[
        int | None, Option(help="steps of both levels (default: the model's); presets shrink alike")
    ] = None,
    repeat: Annotated[int, Option(help="rounds of all variants in turn")] = 3,
    gain: Annotated[list[str] | None, Option(metavar="NAME ...", help="gains to measure (default: all)")] = None,
    device: Device = None,
    *,
    output: Output,
) -> None:
    """Measure what each gain over the plain method is worth: precision, compiling, tables, batch, steps, sources."""
    from gld_ros.benchmarks import factors
    from gld_ros.benchmarks.requests import Shape, model_folder
    from gld_ros.weights.hub import resolve

    gains = gain or factors.GAINS
    factors.check_gains(gains)
    with model_folder(model) as name, ticks(repeat * (len(gains) + 3), f"factors of {model}") as tick:
        folder = resolve(name, local_files_only=True)
        figures = factors.measure(folder, device, Shape(views[0], views[1], size), steps, repeat, gains, tick)
    output.show("factors", figures)


@app.command()
@grouped
def gpu(
    out: Annotated[Path, Option(help="folder for the report, which is whole after each step")],
    minutes: Annotated[float, Option(help="time for all steps")] = 10.0,
    official: Annotated[Path | None, Option(metavar="FOLDER", help="checkout of the official GLD code, too")] = None,
    tests: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="`test` of a checkout, with the oracles (default: beside the package)"),
    ] = None,
    no_oracles: Annotated[bool, Option("--no-oracles", help="leave the oracle tests out")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="every kind of step on the CPU with a tiny model")] = False,
    as_json: Annotated[bool, Option("--json", help="print the report as JSON")] = False,
) -> None:
    """Check and measure everything on a GPU in some minutes, the most valuable first: one prepared command."""
    import shlex
    import signal
    from tempfile import TemporaryDirectory

    from gld_ros.benchmarks import gpu
    from gld_ros.benchmarks.official import check_code
    from gld_ros.benchmarks.requests import write_random_model
    from gld_ros.networks.released import GLD_DA3

    device, suite, out = gpu.device_for(dry_run), None if no_oracles else (tests or gpu.TESTS).resolve(), out.resolve()
    if suite is not None:
        gpu.check_tests(suite)
    if official is not None:
        check_code(official := official.resolve())
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # the step's process ends with this one
    with TemporaryDirectory(prefix="gld-bench-") as scratch:
        model = Path(scratch)
        steps = gpu.plan(model, device, out, suite, official, dry_run)
        run = gpu.Run(steps, minutes, out, shlex.join(["gld", *sys.argv[1:]]))
        write_random_model(gpu.tiny() if dry_run else GLD_DA3, model, "bfloat16")
        try:
            report = run(lambda name: print(f"step {name}", file=sys.stderr, flush=True))
        finally:
            signal.signal(signal.SIGTERM, before)
    print(json.dumps(report, indent=1) if as_json else gpu.gpu_table(report))
    if failed := [row["step"] for row in report["steps"] if row["state"].startswith("FAILED")]:
        print(f"failed: {', '.join(failed)}; their logs are in {out}", file=sys.stderr)
        raise Exit(1)
