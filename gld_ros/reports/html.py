# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML file that needs nothing else: tables, and sheets as embedded PNG."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

REGIONS = ("all", "observed", "unobserved", "poses")
STYLE = """
body { font: 14px sans-serif; margin: 2em auto; max-width: 1400px; padding: 0 1em; }
table { display: block; overflow-x: auto; border-collapse: collapse; margin: 0.5em 0 1.5em; }
th, td { padding: 0.25em 0.7em; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
tr.model { font-weight: bold; }
small { color: #666; font-weight: normal; }
img { max-width: 100%; }
pre { background: #f4f4f4; padding: 1em; overflow-x: auto; }
"""


def write_html(path: Path, report: dict[str, Any], sheets: Sequence[tuple[str, Path]]) -> None:
    """Write `report` (`report.build_report`) with its `sheets` (title, PNG file)."""
    parts = [f"<h1>gld eval {escape(report['model'])}</h1>", _summary(report)]
    parts += _tables(report["methods"], scenes=report["scenes"])
    parts.append("<h2>Model minus method, same scenes</h2>")
    parts += _tables(report["model_minus"], level="h3")
    for group, methods in report["groups"].items():
        parts.append(f"<h2>Only {escape(group)}</h2>")
        parts += _tables(methods, level="h3")
    if "levels_pck" in report:
        cells = "".join(f"<td>{_cell(level)}</td>" for level in report["levels_pck"]["levels"])
        share = report["levels_pck"]["share_of_longer_side"]
        parts.append(f"<h2>Correspondence of the encoder's levels</h2><p>PCK within {share:g} of the longer side</p>")
        parts.append(f"<table><tr><th>level 0</th><th>1</th><th>2</th><th>3</th></tr><tr>{cells}</tr></table>")
    for title, sheet in sheets:
        data = base64.b64encode(sheet.read_bytes()).decode()
        parts.append(f"<h2>{escape(title)}</h2><img alt='{escape(title)}' src='data:image/png;base64,{data}'>")
    parts.append("<h2>What the figures mean</h2><dl>")
    parts += [f"<dt><b>{escape(name)}</b></dt><dd>{escape(text)}</dd>" for name, text in report["definitions"].items()]
    notes = {name: figures["note"] for name, figures in report["methods"].items()}
    parts += [f"<dt><b>{escape(name)}</b></dt><dd>{escape(note)}</dd>" for name, note in notes.items()]
    parts.append(f"</dl><p>Poses: {escape(report['poses'])}.</p>")
    head = f"<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>gld eval {escape(report['model'])}</title>"
    path.write_text(f"{head}<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n")


def _summary(report: dict[str, Any]) -> str:
    observed = ", ".join(f"{by} ({count} scenes)" for by, count in report["observed_by"].items())
    lines = [f"{report['scenes']} scenes, {report['targets']} targets. Observed pixels are told by {observed}."]
    shares = report["observed_share"], report["unobserved_share"]
    lines.append(f"{shares[0]:.1%} of the pixels are observed, {shares[1]:.1%} unobserved, the others unknown.")
    lines += [f"Refused: {entry['scene']}: {entry['reason']}" for entry in report["refused"]]
    lines += [f"Skipped: {name}: {reason}" for name, reason in report.get("skipped", {}).items()]
    lines += [f"Missing picture: {name}" for name in report["missing"]]
    lines += [f"Notice: {notice}" for notice in report.get("notices", [])]
    lines.append("Means over scenes; small: 95 % interval by resampling scenes.")
    details = json.dumps({"settings": report["settings"], "versions": report["versions"]}, indent=1)
    return "".join(f"<p>{escape(line)}</p>" for line in lines) + f"<pre>{escape(details)}</pre>"


def _tables(methods: dict[str, Any], level: str = "h2", scenes: int | None = None) -> list[str]:
    """A table a region: a row a method, a column a figure. scenes: figures over fewer say over how many."""
    found = []
    for region in REGIONS:
        rows = {name: figures[region] for name, figures in methods.items() if region in figures}
        if not rows:
            continue
        columns = list(dict.fromkeys(figure for figures in rows.values() for figure in figures))
        title = f"{region} pixels" if region != "poses" else "poses"
        lines = [
            f"<{level}>{title}</{level}><table><tr><th></th>{''.join(f'<th>{escape(c)}</th>' for c in columns)}</tr>"
        ]
        for name, figures in rows.items():
            cells = "".join(f"<td>{_cell(figures.get(column), scenes)}</td>" for column in columns)
            lines.append(f"<tr class='{escape(name)}'><td>{escape(name)}</td>{cells}</tr>")
        found.append("".join(lines) + "</table>")
    return found


def _cell(value: dict[str, Any] | None, scenes: int | None = None) -> str:
    if value is None:
        return ""
    interval = "" if value["low"] is None else f"<br><small>{value['low']:.3g} .. {value['high']:.3g}</small>"
    fewer = "" if scenes is None or value["count"] == scenes else f"<br><small>{value['count']} scenes</small>"
    return f"{value['mean']:.4g}{interval}{fewer}"
