# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The `gld` command: one module a subcommand or a group of them.

The modules import what is heavy (torch, rosbags) inside their functions, so that `gld --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import typer
from rich.console import Console

from gld_ros import allocator
from gld_ros.cli import (
    batch,
    bench,
    bench_gpu,
    bench_growth,
    bench_start,
    confidence,
    costmap,
    dashboard,
    data,
    eval,
    models,
    reproduce,
    scene,
    synthesize,
    train,
)
from gld_ros.errors import GLDError

#: In the order of `gld --help`.
COMMANDS: dict[str, Callable[..., None]] = {
    "synthesize": synthesize.synthesize,
    "scene": scene.scene,
    "batch": batch.batch,
    "eval": eval.evaluate_model,
    "eval-costmap": costmap.evaluate_costmap,
    "calibrate-confidence": confidence.calibrate_confidence,
    "reproduce": reproduce.reproduce,
    "dashboard": dashboard.dashboard,
}
GROUPS = {"models": models.app, "data": data.app, "train": train.app, "bench": bench.app}
#: Modules that add commands to `gld bench`.
BENCH = (bench_growth, bench_start, bench_gpu)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gld ARGUMENTS`; returns the exit code. Named errors become one line on stderr and exit code 1."""
    app = typer.Typer(
        help="Views that no camera took, by geometric latent diffusion.",
        # The command itself, not a call from Python, may start its process again.
        callback=allocator.ensure if arguments is None else None,
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
        add_completion=False,
    )
    for name, command in COMMANDS.items():
        app.command(name)(command)
    for name, group in GROUPS.items():
        app.add_typer(group, name=name)
    try:
        typer.main.get_command(app)(arguments, prog_name="gld")
    except SystemExit as end:  # this is how typer ends
        return int(end.code or 0)
    except GLDError as error:
        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        console.print(f"gld: {error.code}: {error}", style="red", soft_wrap=True)
        return 1
    return 0
