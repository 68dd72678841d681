# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Output of every benchmark: a table on the terminal, report.json and plots."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from gld_ros.files import write_text
from gld_ros.reports.plots import plot
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
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "report.json", json.dumps(report, indent=1) + "\n")
        write_text(out / "table.md", f"`{report['command']}`\n\n{table}\n")
        write_plots(out, report)


def write_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """Write the plots of a report. Raises InvalidRequest without matplotlib."""
    draw = PLOTS.get(report["benchmark"])
    return draw(folder, report) if draw else []


def latency_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """Stages of every case, stacked."""
    rows = report["cases"]
    labels = ["{} {}\n{}+{} {}x{}".format(row["model"], row["variant"], *row["views"], *row["size"]) for row in rows]
    with plot(folder / "latency.png", (8, 1.5 + 0.6 * len(rows)), xlabel="seconds") as axes:
        left = [0.0] * len(rows)
        for stage in dict.fromkeys(stage for row in rows for stage in row["stages"]):
            widths = [row["stages"].get(stage, 0.0) for row in rows]
            axes.barh(labels, widths, left=left, label=stage)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        axes.invert_yaxis()
        axes.legend(fontsize="small")
    return [folder / "latency.png"]


def quality_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """PSNR to the reference against latency."""
    reference = f"PSNR to {report['reference']}, dB"
    with plot(folder / "quality.png", xlabel="median latency, s", ylabel=reference) as axes:
        for row in report["variants"]:
            if row.get("psnr_db"):
                axes.plot(row["latency_s"], row["psnr_db"]["mean"], "o", label=row["variant"])
        axes.legend(fontsize="small")
    return [folder / "quality.png"]


def scaling_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """Median latency along each axis that was measured."""
    places: dict[str, tuple[str, list[float]]] = {
        "views": ("views, sources and targets", [sum(row["views"]) for row in report["views"]]),
        "pixels": ("megapixels", [row["size"][0] * row["size"][1] / 1e6 for row in report["pixels"]]),
        "parallel": ("requests in parallel", [row["clients"] for row in report["parallel"]]),
    }
    paths = []
    for axis, (label, x) in places.items():
        if x:
            paths.append(folder / f"scaling-{axis}.png")
            with plot(paths[-1], xlabel=label, ylabel="seconds a request", ylim=(0, None)) as axes:
                axes.plot(x, [row["median_s"] for row in report[axis]], marker="o", label="median")
                axes.plot(x, [row["p95_s"] for row in report[axis]], ":", label="p95")
                axes.legend()
    return paths


def node_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """Memory against camera frames."""
    memory = report["cameras"]["memory"]
    if not memory:
        return []
    with plot(folder / "memory.png", xlabel="camera frames published", ylabel="MB") as axes:
        for key, label in (("private_bytes", "resident but files, shared memory"), ("heap_bytes", "heap in use")):
            axes.plot(memory["images"], [value / 1e6 for value in memory[key]], label=label)
        axes.legend()
    return [folder / "memory.png"]


PLOTS = {"latency": latency_plots, "quality": quality_plots, "scaling": scaling_plots, "node": node_plots}
