# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Diagrams of evaluations, with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gld_ros.errors import InvalidRequest


def reliability_diagram(path: Path, report: dict[str, Any]) -> None:
    """How often depth is right against the stated confidence, and the covered share against the nominal one.

    report: of `calibration.check`. Raises InvalidRequest without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InvalidRequest("the diagram needs matplotlib: pip install 'matplotlib>=3.8,<4'") from error
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, colour in (("observed", "tab:blue"), ("generated", "tab:orange")):
        curve = report[name]["reliability"]
        stated = [row["confidence"] for row in curve]
        label = f"{name}, ECE {report[name]['ece']:.3f}" if curve else f"{name}: no pixels"
        left.plot(stated, [row["right"] for row in curve], "o-", color=colour, label=label)
        shares = [row["count"] / sum(row["count"] for row in curve) for row in curve]
        left.bar(stated, shares, width=0.03, color=colour, alpha=0.3)
        if "coverage" in report[name]:
            levels = report[name]["coverage"]
            right.plot(
                [float(level) for level in levels], [row["share"] for row in levels.values()], "o-", color=colour
            )
    left.set(
        xlabel="confidence (bars: share of the pixels)", ylabel="share right within 10 %", xlim=(0, 1), ylim=(0, 1)
    )
    right.set(xlabel="nominal coverage of the depth interval", ylabel="covered share", xlim=(0, 1), ylim=(0, 1))
    for axes in (left, right):
        axes.plot((0, 1), (0, 1), ":", color="gray")
    left.legend()
    figure.savefig(path, dpi=110)
