# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reports for people: tables as Markdown, pages as one HTML file that needs nothing else, plots as PNG files."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment

from gld_ros.extras import require

TEMPLATE = """<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>{{ title }}</title><style>
body { font: 14px sans-serif; margin: 2em auto; max-width: 1400px; padding: 0 1em; }
table { display: block; overflow-x: auto; border-collapse: collapse; margin: 0.5em 0 1.5em; }
th, td { padding: 0.25em 0.7em; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
tr.model { font-weight: bold; }
small { color: #666; font-weight: normal; }
img { max-width: 100%; }
pre { background: #f4f4f4; padding: 1em; overflow-x: auto; }
</style><body><h1>{{ title }}</h1>
{% for part in parts -%}
{% if part.title %}<h{{ part.level }}>{{ part.title }}</h{{ part.level }}>{% endif %}
{%- for line in part.lines %}<p>{{ line }}</p>{% endfor %}
{%- if part.code %}<pre>{{ part.code }}</pre>{% endif %}
{%- if part.columns %}<table><tr>{% for column in part.columns %}<th>{{ column }}</th>{% endfor %}</tr>
{%- for row in part.rows %}<tr class='{{ row[0] }}'>{% for cell in row %}<td>
{%- for line in cell.split("\n") %}{% if loop.first %}{{ line }}{% else %}<br><small>{{ line }}</small>{% endif %}
{%- endfor %}</td>{% endfor %}</tr>{% endfor %}</table>{% endif %}
{%- if part.terms %}<dl>{% for term, text in part.terms.items() %}<dt><b>{{ term }}</b></dt><dd>{{ text }}</dd>
{%- endfor %}</dl>{% endif %}
{%- if part.picture %}<img alt='{{ part.title }}' src='data:image/png;base64,{{ embedded(part.picture) }}'>{% endif %}
{%- if part.viewer %}{{ part.viewer | safe }}{% endif %}
{% endfor %}</body></html>
"""


@dataclass
class Part:
    """A section of a page; what is empty is left out.

    level: of its heading. lines: paragraphs. columns, rows: a table; a cell's first line is large, the others are
    small. terms: a list of definitions. picture: a PNG file. viewer: HTML of `cloud_viewer`, taken as it is.
    """

    title: str = ""
    level: int = 2
    lines: Sequence[str] = ()
    code: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    terms: dict[str, str] = field(default_factory=dict)
    picture: Path | None = None
    viewer: str = ""


def write_page(path: Path, title: str, parts: Sequence[Part]) -> None:
    """Write a page of parts."""

    def embedded(picture: Path) -> str:
        return base64.b64encode(picture.read_bytes()).decode()

    page: Any = Environment(autoescape=True).from_string(TEMPLATE)
    path.write_text(page.render(title=title, parts=parts, embedded=embedded))


def estimate_lines(value: dict[str, Any] | None, scenes: int | None = None) -> str:
    """A cell of an estimate: its mean, below it the interval and, where it is over fewer than `scenes`, how many."""
    if value is None:
        return ""
    lines = [f"{value['mean']:.4g}"]
    if value["low"] is not None:
        lines.append(f"{value['low']:.3g} .. {value['high']:.3g}")
    if scenes is not None and value["count"] != scenes:
        lines.append(f"{value['count']} scenes")
    return "\n".join(lines)


def markdown_page(parts: Sequence[Part]) -> str:
    """Parts as Markdown for a terminal: headings, tables, and their lines as a list."""
    texts = []
    for part in parts:
        listed = "\n".join(f"- {line}" for line in part.lines)
        table = markdown(part.columns, part.rows) if part.columns else ""
        texts += [f"### {part.title}", *filter(None, [table, listed])]
    return "\n\n".join(texts) + "\n"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of `cell` texts."""
    grid = [list(columns), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in grid) for i in range(len(columns))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in grid]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def cell(value: Any) -> str:
    """Numbers with four digits, an estimate ({mean, low, high}) as mean [low .. high], a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        span = "" if value["low"] is None else f" [{value['low']:.4g} .. {value['high']:.4g}]"
        return f"{value['mean']:.4g}{span}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def plot(path: Path, size: tuple[float, float] = (8, 4.5), columns: int = 1, **labels: Any) -> Iterator[Any]:
    """Axes to draw into (an array of them where there are several columns), saved as `path` at the end.

    size: inches. labels: for `Axes.set`, e.g. xlabel. Raises InvalidRequest without matplotlib.
    """
    require("plots", "a plot")
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, columns)
    yield axes
    if labels:
        axes.set(**labels)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
