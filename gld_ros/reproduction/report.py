# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""report.json, report.html and the text of a reproduction."""

from __future__ import annotations

import base64
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from gld_ros.reports.html import STYLE
from gld_ros.reports.provenance import git_revision, hardware
from gld_ros.reproduction.plans import Plan
from gld_ros.reproduction.plots import write_plots
from gld_ros.reproduction.runs import write_json
from gld_ros.reproduction.tables import PAPER, Cell, Table, ratios, tables


def write_report(folder: Path, plan: Plan, results: dict[str, Any], only: list[str], command: str) -> list[Table]:
    """Write report.json, report.html and the plots into `folder`; returns the tables."""
    found = tables(results, only)
    plots = write_plots(folder / "plots", results, found)
    report = {
        "command": command,
        "revision": git_revision(),
        "hardware": hardware(),
        "plan": asdict(plan),
        "parameters": results["parameters"],
        "tables": {table.key: table.plain() for table in found},
        "figures": {key: results[key] for key in ("curves", "systems", "reconstruction", "references")},
    }
    if "a" in only:
        report["ratios"] = {title: asdict(ratio) for title, ratio in ratios(results).items()}
    write_json(folder / "report.json", report)
    (folder / "report.html").write_text(html(report, found, plots))
    return found


def cell_text(found: Cell) -> str:
    if found is None:
        return "-"
    interval = "" if found.low is None else f" [{found.low:.4g} .. {found.high:.4g}]"
    return f"{found.mean:.4g}{interval}"


def text(found: list[Table], results: dict[str, Any]) -> str:
    """All tables for a terminal; they are Markdown at the same time."""
    parts = []
    for table in found:
        grid = [["", *table.columns], *([name, *map(cell_text, cells)] for name, cells in table.rows.items())]
        widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
        lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in grid]
        lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
        notes = [f"Paper, full size: {PAPER[table.key]}.", *table.notes]
        parts.append("\n".join([f"### {table.title}", "", *lines, "", *(f"- {note}" for note in notes)]))
    counts = "\n".join(f"- {name}: {count:,}" for name, count in results["parameters"].items())
    return "\n\n".join([*parts, f"### Parameters\n\n{counts}"]) + "\n"


def html(report: dict[str, Any], found: list[Table], plots: list[tuple[str, Path]]) -> str:
    """One file that needs nothing else."""
    plan = report["plan"]
    parts = [
        f"<h1>gld reproduce --budget {escape(plan['budget'])}</h1><p><code>{escape(report['command'])}</code></p>",
        f"<p>{plan['size']} px, {plan['rooms']} rooms, {plan['representation_steps']} steps of each encoder and "
        f"{plan['flow_steps']} of each diffusion stage, batches of {plan['batch']} scenes x 4 views (2 sources), "
        f"{plan['test_rooms']} held-out rooms. Brackets: 95 % interval by resampling scenes; one training seed.</p>",
    ]
    for table in found:
        head = "".join(f"<th>{escape(c)}</th>" for c in ["", *table.columns])
        rows = "".join(
            f"<tr><td>{escape(name)}</td>{''.join(f'<td>{escape(cell_text(c))}</td>' for c in cells)}</tr>"
            for name, cells in table.rows.items()
        )
        notes = [f"Paper, full size: {PAPER[table.key]}.", *table.notes]
        parts.append(f"<h2>{escape(table.title)}</h2><table><tr>{head}</tr>{rows}</table>")
        parts.append(f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>")
    for title, path in plots:
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(f"<h2>{escape(title)}</h2><img alt='{escape(title)}' src='data:image/png;base64,{data}'>")
    counts = "".join(f"<tr><td>{escape(n)}</td><td>{c:,}</td></tr>" for n, c in report["parameters"].items())
    parts.append(f"<h2>Parameters</h2><table>{counts}</table>")
    hardware = ", ".join(f"{name}: {value}" for name, value in report["hardware"].items())
    parts.append(f"<p>{escape(hardware)}; revision {escape(report['revision'])}</p>")
    head = "<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>gld reproduce</title>"
    return f"{head}<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
