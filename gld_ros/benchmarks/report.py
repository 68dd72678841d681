# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every benchmark leaves: a table on the terminal, report.json and plots."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from gld_ros.files import write_text
from gld_ros.reports.provenance import git_revision, hardware


def complete(kind: str, figures: dict[str, Any]) -> dict[str, Any]:
    """The figures of a benchmark with the command, the revision and the hardware that they hold for."""

    head = {"benchmark": kind, "command": shlex.join(["gld", *sys.argv[1:]]), "revision": git_revision()}
    return head | {"hardware": hardware()} | figures


def show(report: dict[str, Any], table: str, as_json: bool, out: Path | None) -> None:
    """Print the table or, `as_json`, the report; with `out` write report.json, table.md and the plots there.

    Raises InvalidRequest where plots are asked for (`out`) and matplotlib is missing.
    """
    print(json.dumps(report, indent=1) if as_json else table)
    if out is not None:
        from gld_ros.benchmarks.plots import write_plots

        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "report.json", json.dumps(report, indent=1) + "\n")
        write_text(out / "table.md", f"`{report['command']}`\n\n{table}\n")
        write_plots(out, report)
