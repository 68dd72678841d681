# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' figures as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gld_ros.reports.tables import cell, markdown


def latency_table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a case, seconds and shares."""
    columns = ["model", "variant", "views", "size", "median s", "p95 s", "same sources s"]
    columns += ["encode s", "level 1 s (steps)"]
    columns += ["level 0 s (steps)", "decode s", "other s", "ktokens/s", "TFLOP/s", "of peak"]
    lines = []
    for row in rows:
        stages, steps = row["stages"], row["steps"]
        levels = [f"{stages[k]:.4g} ({steps[k]})" if k in steps else None for k in ("level1", "level0")]
        lines.append(
            [row["model"], row["variant"], "{}+{}".format(*row["views"]), "{}x{}".format(*row["size"])]
            + [
                row["median_s"],
                row["p95_s"],
                row["again_s"],
                stages.get("encode"),
                *levels,
                stages.get("decode"),
                stages["other"],
            ]
            + [row["tokens_per_s"] / 1e3, row["achieved_flops_per_s"] / 1e12]
            + [f"{row['share_of_peak']:.1%}" if "share_of_peak" in row else None]
        )
    return markdown(columns, lines)


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
            ["answer less the node's latency", of_all(request["overhead_ms"], request["overhead_share"])],
            ["answer less the pipeline alone", of_all(request["total_overhead_ms"], request["total_overhead_share"])],
        ]
    return markdown(["figure", "value"], lines)


def of_all(milliseconds: float, share: float) -> str:
    """An overhead."""
    return f"{milliseconds:.4g} ms, {share:.1%}"


def compare_table(rows: Sequence[dict[str, Any]]) -> str:
    """The official code beside ours, one line a case."""
    columns = ["model", "views", "size", "steps", "official level 1 s", "level 0 s", "rest s", "all s", "ours, all s"]
    columns += ["times as fast", "image PSNR, dB", "level 1, relative", "level 0, relative"]
    lines = []
    for row in rows:
        theirs, ours, difference = row["official"], row["ours"]["total_s"], row["difference"]
        lines.append(
            [row["model"], "{}+{}".format(*row["views"]), "{}x{}".format(*row["size"]), "{}+{}".format(*row["steps"])]
            + [theirs["level1_s"], theirs["level0_s"], theirs["rest_s"], theirs["total_s"], ours]
            + [theirs["total_s"] / ours, difference["image_psnr_db"], difference["level1"], difference["level0"]]
        )
    return markdown(columns, lines)


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
