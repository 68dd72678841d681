# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld batch`: views of whole archives of sequences, on all cores, GPUs or machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Exit, Option

from gld_ros.cli.options import Guidance, Json, OutFolder, Precision, Steps, progress, size_option

if TYPE_CHECKING:
    from gld_ros.batch.run import Summary

WORKERS = "Workers"


def batch(
    data: Annotated[
        list[str], Argument(metavar="DATA...", help="sequences, bags, data sets (KIND:PATH), globs; @FILE is a list")
    ],
    out: OutFolder,
    model: Annotated[str, Option(help="name of a model or folder of its weights")] = "mini",
    ask: Annotated[
        str, Option(metavar="POLICY?OPTION=VALUE&...", help="left-out, offsets, path, away or poses; see docs/batch.md")
    ] = "left-out",
    format: Annotated[
        Literal["mcap", "nerfstudio", "webdataset"], Option(help="files to write for each sequence")
    ] = "mcap",
    seed: Annotated[int, Option(help="seed of the random numbers")] = 0,
    preset: Annotated[str, Option(help="exact, balanced or fast")] = "exact",
    steps: Steps = None,
    guidance: Guidance = None,
    size: Annotated[Any, size_option("size the model works at, e.g. 504x280 (default: the model's)")] = None,
    dtype: Annotated[Precision | None, Option(help="precision of the weights (default: the device's best)")] = None,
    workers: Annotated[
        int | None, Option(help="how many (default: as many as there is room for)", rich_help_panel=WORKERS)
    ] = None,
    threads: Annotated[
        int, Option(help="CPU cores of each; other numbers round otherwise", rich_help_panel=WORKERS)
    ] = 1,
    gpus: Annotated[
        float | None,
        Option(help="GPUs of each: 0.5 = two on one, 0 = none (default: one, if any)", rich_help_panel=WORKERS),
    ] = None,
    address: Annotated[
        str | None, Option(help="Ray cluster, e.g. auto (default: this machine alone)", rich_help_panel=WORKERS)
    ] = None,
    as_json: Json = False,
) -> None:
    """Make views of whole archives of sequences; the same command goes on where it stopped."""
    options = locals()
    from gld_ros.batch.run import run_batch
    from gld_ros.batch.settings import BatchSettings

    del options["as_json"]
    lines = options.pop("data")
    settings = BatchSettings.from_options(options)
    with progress("batch") as update:

        def watch(summary: Summary) -> None:
            done = summary.made + summary.before + len(summary.failed)
            text = f"{summary.views} views, {len(summary.failed)} failed"
            update(completed=done, total=summary.sequences, description=text)

        summary = run_batch(lines, settings, watch)
    if as_json:
        print(json.dumps(asdict(summary), indent=1))
    else:
        print_summary(summary)
    raise Exit(130 if summary.interrupted else 1 if summary.failed else 0)


def print_summary(summary: Summary) -> None:
    """The counts, the speed, and a line for each sequence that failed."""
    print(
        f"{summary.sequences} sequences: {summary.made} made, {summary.before} made before, {len(summary.failed)} "
        f"failed; {summary.views} views, {summary.refused} requests refused"
    )
    if summary.made:
        print(
            f"{summary.workers} workers, {summary.seconds:.1f} s: {summary.views / summary.seconds:.2f} views a "
            f"second, {summary.views / summary.cpu:.2f} a CPU second"
        )
    for name, reason in summary.failed.items():
        print(f"failed: {name}: {reason}")
    if summary.interrupted:
        print("interrupted; the same command goes on from here")
