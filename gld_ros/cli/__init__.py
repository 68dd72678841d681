# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The `gld` command: one module a subcommand, each with `add_parser(subparsers)` and `run(args) -> exit code`.

The modules import what is heavy (torch, rosbags) inside `run`, so that `gld --help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gld_ros import allocator
from gld_ros.cli import bench, calibrate, confidence, dashboard, data, eval, models, reproduce, synthesize, train
from gld_ros.errors import GLDError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gld ARGUMENTS`; returns the exit code. Named errors become one line on stderr and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="gld", description="Views that no camera took, by geometric latent diffusion."
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (synthesize, models, eval, confidence, bench, calibrate, train, reproduce, data, dashboard):
        module.add_parser(subparsers)
    args = parser.parse_args(arguments)
    if arguments is None:  # the command itself, not a call from Python: this starts the process again
        allocator.ensure()
    try:
        return args.run(args)
    except GLDError as error:
        print(f"gld: {error.code}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
