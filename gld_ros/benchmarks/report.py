# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Output of every benchmark: a table on the terminal, report.json and plots."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gld_ros.extras import require
from gld_ros.files import write_text
from gld_ros.reports.pages import cell, markdown, plot
from gld_ros.reports.provenance import git_revision, hardware


def finish(kind: str, figures: dict[str, Any], as_json: bool = False, out: Path | None = None) -> None:
    """Print the table of a benchmark or, `as_json`, its report; with `out` write report.json, table.md and plots there.

    The report holds the command, the revision and the hardware, too. Raises InvalidRequest where plots are asked for
    (`out`) and matplotlib is missing.
    """
    command = shlex.join(["gld", *sys.argv[1:]])
    head = {"benchmark": kind, "command": command, "revision": git_revision(), "hardware": hardware()}
    report, table = json.dumps(head | figures, indent=1), TABLES[kind](figures)
    print(report if as_json else table)
    if out is not None:
        write_text(out / "report.json", report + "\n")
        write_text(out / "table.md", f"`{command}`\n\n{table}\n")
        if kind in PLOTS:
            PLOTS[kind](out, figures)


def shape_of(row: dict[str, Any]) -> list[str]:
    """Views and size of a case, as on the command line."""
    return ["{}+{}".format(*row["views"]), "{}x{}".format(*row["size"])]


def latency_table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a case, seconds and shares."""
    columns = ["model", "variant", "views", "size", "median s", "p95 s", "same sources s", "encode s"]
    columns += ["level 1 s (steps)", "level 0 s (steps)", "decode s", "other s", "ktokens/s", "TFLOP/s", "of peak"]
    lines = []
    for row in rows:
        stages, steps = row["stages"], row["steps"]
        levels = [f"{stages[k]:.4g} ({steps[k]})" if k in steps else None for k in ("level1", "level0")]
        line = [row["model"], row["variant"], *shape_of(row), row["median_s"], row["p95_s"], row["again_s"]]
        line += [stages.get("encode"), *levels, stages.get("decode"), stages["other"], row["tokens_per_s"] / 1e3]
        line.append(row["achieved_flops_per_s"] / 1e12 if "achieved_flops_per_s" in row else None)
        lines.append([*line, f"{row['share_of_peak']:.1%}" if "share_of_peak" in row else None])
    return markdown(columns, lines)


def latency_tables(report: dict[str, Any]) -> str:
    """The cases, or the comparison with the official code where it was asked for."""
    return compare_table(report["compare"]) if "compare" in report else latency_table(report["cases"])


def quality_table(report: dict[str, Any]) -> str:
    """One line a variant; brackets are 95 % intervals."""
    figures = ["psnr_db", "depth_abs_rel", "lpips", "psnr_truth_db", "psnr_truth_gain_db"]
    figures = [name for name in figures if any(name in row for row in report["variants"])]
    lines = [
        [row["variant"], row["latency_s"], row["speedup"], *(row.get(name) for name in figures)]
        for row in report["variants"]
    ]
    titles = {
        "psnr_db": f"PSNR to {report['reference']}, dB",
        "depth_abs_rel": "depth difference, relative",
        "lpips": f"LPIPS to {report['reference']}",
        "psnr_truth_db": "PSNR to the truth, dB",
        "psnr_truth_gain_db": "gain, dB",
    }
    return markdown(["variant", "median s", "times as fast", *(titles[name] for name in figures)], lines)


def scaling_table(report: dict[str, Any]) -> str:
    """Three tables: views, pixels, requests in parallel."""
    parts = []
    for axis in ("views", "pixels"):
        if rows := report[axis]:
            parts.append(f"Latency against {axis}:\n\n{latency_table(rows)}")
    if rows := report["parallel"]:
        lines = [[row["clients"], row["median_s"], row["p95_s"], row["requests_per_s"]] for row in rows]
        table = markdown(["requests in parallel", "median s", "p95 s", "requests/s"], lines)
        parts.append(f"Requests at the same time:\n\n{table}")
    return "\n\n".join(parts)


MEMORY = [
    ("heap_bytes", "heap in use, kB", 1e3),
    ("private_bytes", "resident memory but files and shared memory, kB", 1e3),
    ("python_blocks", "Python's memory blocks", 1.0),
]


def grown(slope: dict[str, float] | None, unit: float) -> str:
    """Growth in 10,000 frames of a slope a frame, and whether that may be none."""
    if slope is None:
        return cell(None)
    noise = "within noise" if slope["low"] <= 0 <= slope["high"] else "not within noise"
    return f"{cell({key: 10_000 * value / unit for key, value in slope.items()})}, {noise}"


def node_table(report: dict[str, Any]) -> str:
    """One line a figure."""
    cameras, request = report["cameras"], report["requests"]
    lines: list[list[Any]] = [
        ["camera frames received / published", f"{cameras['received']} / {cameras['published']}"],
        ["instants a second, asked for / published", f"{cameras['rate']:g} / {cameras['published_rate']:.4g}"],
        ["CPU ms a camera frame", 1e3 * cameras["cpu_s_per_frame"]],
        ["share of one core", f"{cameras['core_share']:.1%}"],
        ["memory at the end, MB", cameras["memory_bytes"] / 1e6],
        *[[f"{name} in 10,000 frames", grown(cameras["memory_slopes"][key], unit)] for key, name, unit in MEMORY],
    ]
    if request["count"]:
        lines += [
            ["request to answer, median / p95 ms", "{:.4g} / {:.4g}".format(*request["answer_ms"])],
            ["the node's own latency, median / p95 ms", "{:.4g} / {:.4g}".format(*request["node_ms"])],
            ["the pipeline alone in this process, median ms", request["pipeline_ms"]],
        ]
        for name, base in (("overhead", "the node's latency"), ("total_overhead", "the pipeline alone")):
            lines.append([f"answer less {base}", f"{request[f'{name}_ms']:.4g} ms, {request[f'{name}_share']:.1%}"])
    return markdown(["figure", "value"], lines)


def start_table(report: dict[str, Any]) -> str:
    """The quickest start, one line a part; seconds since the process began, then those that the part took."""
    best = min(report["starts"], key=lambda start: start["active_s"])
    lines = [[row["part"], row["after_s"], row["seconds"], row["cpu_s"]] for row in best["parts"]]
    lines += [["active, as a client sees it", best["active_s"], None, None]]
    lines += [["first answer", best["first_answer_s"], None, None]]
    return markdown(["part", "after s", "takes s", "CPU s"], lines)


def compare_table(rows: Sequence[dict[str, Any]]) -> str:
    """The official code beside ours, one line a case."""
    columns = ["model", "views", "size", "steps", "official level 1 s", "level 0 s", "rest s", "all s", "ours, all s"]
    columns += ["times as fast", "in CPU seconds", "image PSNR, dB", "level 1, relative", "level 0, relative"]
    lines = []
    for row in rows:
        theirs, ours, difference = row["official"], row["ours"]["total_s"], row["difference"]
        lines.append(
            [row["model"], *shape_of(row), "{}+{}".format(*row["steps"])]
            + [theirs["level1_s"], theirs["level0_s"], theirs["rest_s"], theirs["total_s"], ours]
            + [row["speedup"]["total_s"], row["speedup"]["cpu_s"], difference["image_psnr_db"]]
            + [difference["level1"], difference["level0"]]
        )
    notes = dict.fromkeys(row["note"] for row in rows if row["note"])
    return "\n\n".join([markdown(columns, lines), *notes])


def factors_table(report: dict[str, Any]) -> str:
    """One line a variant; brackets are the least and the most of the rounds."""
    lines = [[row["variant"], row["seconds"], row["factor"], row["image_psnr_db"]] for row in report["variants"]]
    steps = ", ".join("{} {}+{}".format(name, *counts) for name, counts in report["steps"].items())
    head = f"{report['model']}, {' '.join(shape_of(report))}, {report['device']}, steps: {steps}"
    columns = ["with", report["clock"], "times as fast as plain", "PSNR to plain, dB"]
    return f"{head}\n\n{markdown(columns, lines)}"


def memory_table(report: dict[str, Any]) -> str:
    """Gigabytes of each figure, one a line."""
    names = ["weights_bytes", "resident_before", "resident_loaded", "peak_loading", "peak_resident"]
    lines = [[name.replace("_", " "), report[name] / 1e9] for name in names]
    lines += [
        [f"{name.replace('_', ' ')} on the GPU", report[name] / 1e9]
        for name in ("peak_allocated", "peak_reserved")
        if name in report
    ]
    lines.append(["peak / weights", report["peak_over_weights"]])
    return markdown(["figure", "GB"], lines)


def latency_plots(folder: Path, report: dict[str, Any]) -> None:
    """Stages of every case, stacked."""
    if not (rows := report["cases"]):
        return
    labels = ["{} {}\n{} {}".format(row["model"], row["variant"], *shape_of(row)) for row in rows]
    with plot(folder / "latency.png", (8, 1.5 + 0.6 * len(rows)), xlabel="seconds") as axes:
        left = [0.0] * len(rows)
        for stage in dict.fromkeys(stage for row in rows for stage in row["stages"]):
            widths = [row["stages"].get(stage, 0.0) for row in rows]
            axes.barh(labels, widths, left=left, label=stage)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        axes.invert_yaxis()
        axes.legend(fontsize="small")


def quality_plots(folder: Path, report: dict[str, Any]) -> None:
    """PSNR to the reference against latency."""
    reference = f"PSNR to {report['reference']}, dB"
    with plot(folder / "quality.png", xlabel="median latency, s", ylabel=reference) as axes:
        for row in report["variants"]:
            if row.get("psnr_db"):
                axes.plot(row["latency_s"], row["psnr_db"]["mean"], "o", label=row["variant"])
        axes.legend(fontsize="small")


def scaling_plots(folder: Path, report: dict[str, Any]) -> None:
    """Median latency along each axis that was measured."""
    places: dict[str, tuple[str, list[float]]] = {
        "views": ("views, sources and targets", [sum(row["views"]) for row in report["views"]]),
        "pixels": ("megapixels", [row["size"][0] * row["size"][1] / 1e6 for row in report["pixels"]]),
        "parallel": ("requests in parallel", [row["clients"] for row in report["parallel"]]),
    }
    for axis, (label, x) in places.items():
        if x:
            with plot(folder / f"scaling-{axis}.png", xlabel=label, ylabel="seconds a request", ylim=(0, None)) as axes:
                axes.plot(x, [row["median_s"] for row in report[axis]], marker="o", label="median")
                axes.plot(x, [row["p95_s"] for row in report[axis]], ":", label="p95")
                axes.legend()


def growth_table(report: dict[str, Any]) -> str:
    """One line an axis: seconds at each size, and the exponent."""
    lines = []
    for row in report["axes"]:
        seconds = [f"{size:,.0f}: {second:.2g}" for size, second in zip(row["sizes"], row["seconds"], strict=True)]
        lines.append([row["axis"], row["what"], ", ".join(seconds), f"{row['exponent']:.2f}"])
    return markdown(["axis", "what is timed", "size: seconds", "exponent"], lines)


def growth_plots(folder: Path, report: dict[str, Any]) -> None:
    """Seconds over sizes, both in logarithms, one panel an axis."""
    require("plots", "a plot")
    from matplotlib.ticker import NullLocator

    names = list(dict.fromkeys(row["axis"] for row in report["axes"]))
    with plot(folder / "growth.png", (3 * len(names), 3.2), columns=len(names)) as panels:
        for axes, name in zip(panels, names, strict=True):
            for row in [row for row in report["axes"] if row["axis"] == name]:
                label = f"{row['what'].split(':')[0]} ({row['exponent']:.2f})"
                axes.loglog(row["sizes"], row["seconds"], marker="o", label=label)
            axes.set(xlabel=name, ylabel="seconds")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(row["sizes"], [f"{size:,.0f}" for size in row["sizes"]], fontsize=7)
            axes.legend(fontsize=6)


def node_plots(folder: Path, report: dict[str, Any]) -> None:
    """Memory against camera frames."""
    memory = report["cameras"]["memory"]
    if not memory:
        return
    with plot(folder / "memory.png", xlabel="camera frames published", ylabel="MB") as axes:
        for key, label in (("private_bytes", "resident but files, shared memory"), ("heap_bytes", "heap in use")):
            axes.plot(memory["images"], [value / 1e6 for value in memory[key]], label=label)
        axes.legend()


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "latency": latency_tables,
    "quality": quality_table,
    "scaling": scaling_table,
    "growth": growth_table,
    "node": node_table,
    "start": start_table,
    "memory": memory_table,
    "factors": factors_table,
}
PLOTS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "latency": latency_plots,
    "quality": quality_plots,
    "scaling": scaling_plots,
    "growth": growth_plots,
    "node": node_plots,
}
