# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""PNG plots of the benchmarks' reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gld_ros.errors import InvalidRequest


def write_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """The plots of a report. Raises InvalidRequest without matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise InvalidRequest("the plots need matplotlib: pip install 'matplotlib>=3.8,<4'") from error
    matplotlib.use("Agg")
    return PLOTS[report["benchmark"]](folder, report)


def latency_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """Stages of every case, stacked."""

    def draw(axes: Any) -> None:
        rows = report["cases"]
        labels = [
            "{} {}\n{}+{} {}x{}".format(row["model"], row["variant"], *row["views"], *row["size"]) for row in rows
        ]
        left = [0.0] * len(rows)
        for stage in dict.fromkeys(stage for row in rows for stage in row["stages"]):
            widths = [row["stages"].get(stage, 0.0) for row in rows]
            axes.barh(labels, widths, left=left, label=stage)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        axes.invert_yaxis()
        axes.set(xlabel="seconds")
        axes.legend(fontsize="small")

    return [figure(folder / "latency.png", draw, height=1.5 + 0.6 * len(report["cases"]))]


def quality_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """PSNR to the reference against latency."""

    def draw(axes: Any) -> None:
        for row in report["variants"]:
            if row.get("psnr_db"):
                axes.plot(row["latency_s"], row["psnr_db"]["mean"], "o", label=row["variant"])
        axes.set(xlabel="median latency, s", ylabel=f"PSNR to {report['reference']}, dB")
        axes.legend(fontsize="small")

    return [figure(folder / "quality.png", draw)]


def scaling_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """Median latency along each axis that was measured."""
    axes_of: dict[str, Callable[[dict[str, Any]], float]] = {
        "views": lambda row: sum(row["views"]),
        "pixels": lambda row: row["size"][0] * row["size"][1] / 1e6,
        "parallel": lambda row: row["clients"],
    }
    labels = {"views": "views, sources and targets", "pixels": "megapixels", "parallel": "requests in parallel"}
    made = []
    for axis, place in axes_of.items():
        if rows := report[axis]:

            def draw(axes: Any, rows: list = rows, place: Callable = place, label: str = labels[axis]) -> None:
                axes.plot([place(row) for row in rows], [row["median_s"] for row in rows], marker="o", label="median")
                axes.plot([place(row) for row in rows], [row["p95_s"] for row in rows], ":", label="p95")
                axes.set(xlabel=label, ylabel="seconds a request", ylim=(0, None))
                axes.legend()

            made.append(figure(folder / f"scaling-{axis}.png", draw))
    return made


def node_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """Memory against camera frames."""
    memory = report["cameras"]["memory"]

    def draw(axes: Any) -> None:
        for key, label in (("private_bytes", "resident but files, shared memory"), ("heap_bytes", "heap in use")):
            axes.plot(memory["images"], [value / 1e6 for value in memory[key]], label=label)
        axes.set(xlabel="camera frames published", ylabel="MB")
        axes.legend()

    return [figure(folder / "memory.png", draw)] if memory else []


def budget_plots(folder: Path, report: dict[str, Any]) -> list[Path]:
    """Seconds against budget, by what was picked."""

    def draw(axes: Any) -> None:
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in report["requests"]:
            name = f"{row['preset']}{'' if row['complete'] else ', incomplete'}" if row["views"] else "refused"
            groups.setdefault(name, []).append(row)
        for name, rows in sorted(groups.items()):
            axes.plot([row["budget_s"] for row in rows], [row["seconds"] for row in rows], ".", label=name)
        budgets = sorted(row["budget_s"] for row in report["requests"])
        axes.plot(budgets, budgets, "k:", label="deadline")
        axes.set(xlabel="time budget, s", ylabel="seconds until the answer", xscale="log")
        axes.legend(fontsize="small")

    return [figure(folder / "budget.png", draw)]


def figure(path: Path, draw: Callable[[Any], None], height: float = 4.5) -> Path:
    """One plot, drawn and closed."""
    from matplotlib import pyplot

    made, axes = pyplot.subplots(figsize=(8, height), layout="constrained")
    draw(axes)
    made.savefig(path, dpi=120)
    pyplot.close(made)
    return path


PLOTS: dict[str, Callable[[Path, dict[str, Any]], list[Path]]] = {
    "latency": latency_plots,
    "quality": quality_plots,
    "scaling": scaling_plots,
    "node": node_plots,
    "budget": budget_plots,
    "memory": lambda folder, report: [],
}
