# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page of `gld eval`, and the reliability diagram of `gld calibrate-confidence`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gld_ros.reports.html import Part, estimate_lines, write_page
from gld_ros.reports.plots import plot

REGIONS = {"all": "all pixels", "observed": "observed pixels", "unobserved": "unobserved pixels", "poses": "poses"}


def write_eval_page(path: Path, report: dict[str, Any], sheets: Sequence[tuple[str, Path]]) -> None:
    """Write `report` (`report.build_report`) with its `sheets` (title, PNG file)."""
    details = {"settings": report["settings"], "versions": report["versions"]}
    parts = [Part(lines=_summary(report), code=json.dumps(details, indent=1))]
    parts += _tables(report["methods"], scenes=report["scenes"])
    parts += [Part("Model minus method, same scenes"), *_tables(report["model_minus"], level=3)]
    for group, methods in report["groups"].items():
        parts += [Part(f"Only {group}"), *_tables(methods, level=3)]
    if levels := report.get("levels_pck"):
        title, text = "Correspondence of the encoder's levels", "PCK within {:g} of the longer side"
        cells = [estimate_lines(level) for level in levels["levels"]]
        columns = ["level 0", "1", "2", "3"]
        parts.append(Part(title, lines=[text.format(levels["share_of_longer_side"])], columns=columns, rows=[cells]))
    parts += [Part(title, picture=sheet) for title, sheet in sheets]
    notes = {name: figures["note"] for name, figures in report["methods"].items()}
    parts.append(Part("Definitions of the figures", terms=report["definitions"] | notes))
    parts.append(Part(lines=[f"Poses: {report['poses']}."]))
    write_page(path, f"gld eval {report['model']}", parts)


def _summary(report: dict[str, Any]) -> list[str]:
    observed = ", ".join(f"{by} ({count} scenes)" for by, count in report["observed_by"].items())
    lines = [f"{report['scenes']} scenes, {report['targets']} targets. Observed pixels are told by {observed}."]
    shares = report["observed_share"], report["unobserved_share"]
    lines.append(f"{shares[0]:.1%} of the pixels are observed, {shares[1]:.1%} unobserved, the others unknown.")
    lines += [f"Refused: {entry['scene']}: {entry['reason']}" for entry in report["refused"]]
    lines += [f"Skipped: {name}: {reason}" for name, reason in report.get("skipped", {}).items()]
    lines += [f"Missing picture: {name}" for name in report["missing"]]
    lines += [f"Notice: {notice}" for notice in report.get("notices", [])]
    return [*lines, "Means over scenes; small: 95 % interval by resampling scenes."]


def _tables(methods: dict[str, Any], level: int = 2, scenes: int | None = None) -> list[Part]:
    """A table a region: a row a method, a column a figure. scenes: figures over fewer name their number."""
    parts = []
    for region, title in REGIONS.items():
        found = {name: figures[region] for name, figures in methods.items() if region in figures}
        columns = list(dict.fromkeys(figure for figures in found.values() for figure in figures))
        rows = [
            [name, *(estimate_lines(figures.get(column), scenes) for column in columns)]
            for name, figures in found.items()
        ]
        if rows:
            parts.append(Part(title, level, columns=["", *columns], rows=rows))
    return parts


def reliability_diagram(path: Path, report: dict[str, Any]) -> None:
    """Plot how often depth is right against the stated confidence, and the covered share against the nominal one.

    report: of `confidence_fit.check`. Raises InvalidRequest without matplotlib.
    """
    with plot(path, (9, 4.5), columns=2) as (left, right):
        for name, colour in (("observed", "tab:blue"), ("generated", "tab:orange")):
            curve = report[name]["reliability"]
            stated = [row["confidence"] for row in curve]
            label = f"{name}, ECE {report[name]['ece']:.3f}" if curve else f"{name}: no pixels"
            left.plot(stated, [row["right"] for row in curve], "o-", color=colour, label=label)
            shares = [row["count"] / sum(row["count"] for row in curve) for row in curve]
            left.bar(stated, shares, width=0.03, color=colour, alpha=0.3)
            covered = report[name].get("coverage", {})
            right.plot(
                [float(level) for level in covered], [row["share"] for row in covered.values()], "o-", color=colour
            )
        for axes in (left, right):
            axes.plot((0, 1), (0, 1), ":", color="gray")
            axes.set(xlim=(0, 1), ylim=(0, 1))
        left.set(xlabel="confidence (bars: share of the pixels)", ylabel="share right within 10 %")
        right.set(xlabel="nominal coverage of the depth interval", ylabel="covered share")
        left.legend()
