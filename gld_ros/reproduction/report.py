# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""report.json, report.html, the plots and the text of a reproduction."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from gld_ros.reports.html import Part, write_page
from gld_ros.reports.plots import plot
from gld_ros.reports.provenance import git_revision, hardware
from gld_ros.reports.tables import cell, markdown
from gld_ros.reproduction.plans import Plan
from gld_ros.reproduction.runs import write_json
from gld_ros.reproduction.tables import PAPER, Table, mean, ratios, tables
from gld_ros.reproduction.variants import TITLES


def write_report(folder: Path, plan: Plan, results: dict[str, Any], only: list[str], command: str) -> list[Table]:
    """Write report.json, report.html and the plots into `folder`; returns the tables."""
    shown = tables(results, only)
    report: dict[str, Any] = {
        "command": command,
        "revision": git_revision(),
        "hardware": hardware(),
        "plan": asdict(plan),
        "parameters": results["parameters"],
        "tables": {table.key: asdict(table) | {"paper": PAPER[table.key]} for table in shown},
        "figures": {key: results[key] for key in ("curves", "systems", "references")},
    }
    if "a" in only:
        report["ratios"] = {title: asdict(ratio) for title, ratio in ratios(results).items()}
    write_json(folder / "report.json", report)
    curves = curves_plot(folder / "plots" / "curves.png", results)
    title = f"gld reproduce --budget {plan.budget}"
    summary = (
        f"{plan.size} px, {plan.rooms} rooms, {plan.representation_steps} steps of each encoder and "
        f"{plan.flow_steps} of each diffusion stage, batches of {plan.batch} scenes x 4 views (2 sources), "
        f"{plan.test_rooms} held-out rooms. Brackets: 95 % interval by resampling scenes; one training seed."
    )
    parts = [Part(lines=[summary], code=command), Part("PSNR against steps", picture=curves)]
    for table in shown:
        rows = [[name, *map(cell, cells)] for name, cells in table.rows.items()]
        parts.append(Part(table.title, lines=notes(table), columns=["", *table.columns], rows=rows))
    counts = [[name, f"{count:,}"] for name, count in results["parameters"].items()]
    parts.append(Part("Parameters", columns=["network", "parameters"], rows=counts))
    machine = ", ".join(f"{name}: {value}" for name, value in report["hardware"].items())
    write_page(folder / "report.html", title, [*parts, Part(lines=[f"{machine}; revision {report['revision']}"])])
    return shown


def text(shown: list[Table], results: dict[str, Any]) -> str:
    """All tables for a terminal; they are Markdown at the same time."""
    parts = []
    for table in shown:
        rows = [[name, *cells] for name, cells in table.rows.items()]
        listed = "\n".join(f"- {note}" for note in notes(table))
        parts.append(f"### {table.title}\n\n{markdown(['', *table.columns], rows)}\n\n{listed}")
    counts = "\n".join(f"- {name}: {count:,}" for name, count in results["parameters"].items())
    return "\n\n".join([*parts, f"### Parameters\n\n{counts}"]) + "\n"


def notes(table: Table) -> list[str]:
    return [f"Paper, full size: {PAPER[table.key]}.", *table.notes]


def curves_plot(path: Path, results: dict[str, Any]) -> Path:
    """One line a variant; the 95 % intervals of GLD and of the VAE latent shaded."""
    with plot(path, (8, 5), xlabel="steps of the diffusion stage", ylabel="PSNR of the target views, dB") as axes:
        for name, curve in results["curves"].items():
            points = [mean(values) or {} for values in curve["psnr"]]
            if not points:
                continue
            means = [point["mean"] for point in points]
            (line,) = axes.plot(curve["steps"], means, marker="o", label=TITLES[name])
            if name in ("level1", "vae"):
                span = [[point[end] or point["mean"] for point in points] for end in ("low", "high")]
                axes.fill_between(curve["steps"], *span, color=line.get_color(), alpha=0.15)
        copy = mean(results["references"]["copy of the nearest source"]["psnr"]) or {}
        axes.axhline(copy["mean"], color="grey", linestyle="--", label="copy of the nearest source")
        axes.legend(fontsize="small")
    return path
