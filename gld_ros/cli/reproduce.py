# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld reproduce`: the paper's claims in miniature."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

from gld_ros.cli.options import DeviceKind
from gld_ros.errors import InvalidRequest
from gld_ros.extras import require


def reproduce(
    budget: Annotated[
        Literal["smoke", "cpu", "gpu"],
        Option(
            help="smoke: a minute or two, no meaning; cpu: an hour on 2 cores; gpu: half an hour on a data-centre GPU"
        ),
    ],
    out: Annotated[Path, Option(help="folder of the report and of what is trained; resumes")],
    only: Annotated[
        str | None, Option(help="some of a,b,c: steps, boundary level, cascade (default: all); or gen3r: its training")
    ] = None,
    representation_steps: Annotated[
        int | None, Option(help="steps of encoders and VAE (default: the budget's)")
    ] = None,
    flow_steps: Annotated[int | None, Option(help="steps of each diffusion stage (default: the budget's)")] = None,
    device: DeviceKind = "auto",
) -> None:
    """Train GLD's variants in small on procedural rooms and print the paper's tables."""
    require("train", "training")

    from gld_ros.reproduction.plans import PLANS
    from gld_ros.reproduction.report import write_report
    from gld_ros.reproduction.runs import Interrupted, Reproduction
    from gld_ros.reproduction.variants import EXPERIMENTS

    if only == "gen3r":
        if representation_steps or flow_steps:
            raise InvalidRequest("--only gen3r has the steps of its budget: leave out the other options of steps")
        reproduce_gen3r_in(out, budget, device)
        return
    given = {"representation_steps": representation_steps, "flow_steps": flow_steps}
    changes: dict[str, Any] = {name: steps for name, steps in given.items() if steps is not None}
    for name, steps in changes.items():
        if steps < 1:
            raise InvalidRequest(f"--{name.replace('_', '-')} is {steps}, expected at least 1")
    plan = replace(PLANS[budget], device=device, **changes)
    chosen = only.split(",") if only else list(EXPERIMENTS)
    reproduction = Reproduction(plan, out, chosen)
    try:
        results = reproduction.run()
    except Interrupted:
        print(f"stopped early, saved in {out}; the same command goes on")
        return
    print(write_report(out, plan, results, chosen, shlex.join(["gld", *sys.argv[1:]])))
    print(f"report.json, report.html and plots written to {out}")


def reproduce_gen3r_in(out: Path, budget: str, device: DeviceKind) -> None:
    """Train a small Gen3R with and without its alignment and print the table."""
    require("gen3r", "Gen3R")

    from gld_ros.reproduction.gen3r import GEN3R_PLANS, reproduce_gen3r
    from gld_ros.reproduction.runs import Interrupted

    plan = replace(GEN3R_PLANS[budget], device=device)
    try:
        print(reproduce_gen3r(plan, out, shlex.join(["gld", *sys.argv[1:]])))
    except Interrupted:
        print(f"stopped early, saved in {out}; the same command goes on")
        return
    print(f"report.json, report.html and curves.png written to {out}")
