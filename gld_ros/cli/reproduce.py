# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld reproduce`: the paper's claims in miniature."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from gld_ros.cli.extras import check_training_libraries

#: As in gld_ros.reproduction, which imports torch.
BUDGETS = ("smoke", "cpu", "gpu")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `gld reproduce`."""
    parser = subparsers.add_parser(
        "reproduce", help="train GLD's variants in small on procedural rooms and print the paper's tables"
    )
    parser.add_argument(
        "--budget",
        choices=BUDGETS,
        required=True,
        help="smoke: a minute or two, no meaning; cpu: an hour on 2 cores; gpu: half an hour on a data-centre GPU",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the report and of what is trained; resumes")
    parser.add_argument(
        "--only",
        help="some of a,b,c,d,e: steps, boundary level, cascade, reconstruction, views with poses and depth",
    )
    parser.add_argument("--representation-steps", type=int, help="of each encoder and the VAE (default: the budget's)")
    parser.add_argument("--flow-steps", type=int, help="of each diffusion stage (default: the budget's)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, score, write the report, print the tables."""
    check_training_libraries()

    from gld_ros.errors import InvalidRequest
    from gld_ros.reproduction.plans import PLANS
    from gld_ros.reproduction.report import text, write_report
    from gld_ros.reproduction.runs import Interrupted, Reproduction
    from gld_ros.reproduction.variants import EXPERIMENTS

    given = {name: getattr(args, name) for name in ("representation_steps", "flow_steps")}
    changes = {name: steps for name, steps in given.items() if steps is not None}
    for name, steps in changes.items():
        if steps < 1:
            raise InvalidRequest(f"--{name.replace('_', '-')} is {steps}, expected at least 1")
    plan = replace(PLANS[args.budget], device=args.device, **changes)
    only = args.only.split(",") if args.only else list(EXPERIMENTS)
    reproduction = Reproduction(plan, args.out, only)
    try:
        results = reproduction.run()
    except Interrupted:
        print(f"stopped early, saved in {args.out}; the same command goes on")
        return 0
    tables = write_report(args.out, plan, results, only, shlex.join(["gld", *sys.argv[1:]]))
    print(text(tables, results))
    print(f"report.json, report.html and plots written to {args.out}")
    return 0
