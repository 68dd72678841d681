# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A report as one HTML file that needs nothing else; pictures are embedded."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment

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
{% endfor %}</body></html>
"""


@dataclass
class Part:
    """A section of a page; what is empty is left out.

    level: of its heading. lines: paragraphs. columns, rows: a table; a cell's first line is large, the others are
    small. terms: a list of definitions. picture: a PNG file.
    """

    title: str = ""
    level: int = 2
    lines: Sequence[str] = ()
    code: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    terms: dict[str, str] = field(default_factory=dict)
    picture: Path | None = None


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
