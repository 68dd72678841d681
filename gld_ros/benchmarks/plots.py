# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' figures as plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gld_ros.reports.plots import plot


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
