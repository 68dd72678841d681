# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a node says of itself in its diagnostics, and a verdict that nobody can misread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jinja2 import Environment

OK, WARN, ERROR = "OK", "WARN", "ERROR"
LEVELS = (OK, WARN, ERROR, ERROR)  # of DiagnosticStatus: OK, WARN, ERROR, STALE
COLOURS = {OK: "#1a7f37", WARN: "#9a6700", ERROR: "#cf222e"}
ANSWERS, DROPPED = "answers_", "dropped_"  # how the node's values for answers by code and drops by reason begin
FACTS = ("state", "model", "device", "latency_median_s", "latency_max_s", "key_frames")  # shown first, in this order
SILENCE = 5.0  # seconds without diagnostics after which nothing of them counts any more

HTML = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
{% macro heading(title) %}<div style="font-weight:bold;margin-top:.6em">{{ title }}</div>{% endmacro %}
<div style="font-size:.8em;padding:.3em .8em">
<div id="verdict" style="background:{{ colour }};color:white;padding:.4em .6em;border-radius:.3em;font-weight:bold">
{{ node }}: {{ health.verdict }}
{% for reason in health.reasons %}<div style="font-weight:normal">{{ reason }}</div>{% endfor %}
</div>
{% for name, (title, rows) in tables.items() %}
{{ heading(title) if title }}
<table id="{{ name }}">
{% for key, value in rows.items() %}
<tr><td style="opacity:.7;padding-right:1em">{{ key.replace("_", " ") }}</td><td>{{ value }}</td></tr>
{% endfor %}
</table>
{% endfor %}
{{ heading("Topics") }}
<table id="topics"><tr><td></td>
{% for word in ("in", "out", "dropped") %}
<th style="text-align:right;font-weight:normal;opacity:.7">{{ word }}</th>
{% endfor %}
</tr>
{% for topic, counts in topics.items() %}
<tr><td style="overflow-wrap:anywhere">{{ topic }}</td>
{% for key in ("received", "published", "dropped") %}
<td style="text-align:right;padding-left:.6em">{{ counts.get(key, 0) }}</td>
{% endfor %}
</tr>
{% endfor %}
</table>
</div>""")


@dataclass(frozen=True)
class Status:
    """One diagnostic. level: 0 OK, 1 WARN, 2 ERROR, 3 STALE, as in diagnostic_msgs/DiagnosticStatus."""

    name: str
    level: int
    message: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Health:
    """verdict: OK, WARN or ERROR, for these reasons. facts: what the node says of itself.

    answers: how many by error code, NONE for success; topics: counts of every topic; drops: of all topics, by reason.
    """

    verdict: str
    reasons: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, int] = field(default_factory=dict)
    topics: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    drops: Mapping[str, int] = field(default_factory=dict)


def read_health(node: str, statuses: Sequence[Status], age: float | None, silence: float = SILENCE) -> Health:
    """Health of `node` (full name) from its newest diagnostics, `age` seconds old, None where there were none yet.

    ERROR where the node is silent, not active or says so itself; WARN where it says so itself.
    """
    if age is None:
        return Health(ERROR, [f"no diagnostics of {node} yet: is it running?"])
    worst = max((status.level for status in statuses), default=0)
    verdict = LEVELS[min(worst, len(LEVELS) - 1)]
    prefix = f"{node}: "
    reasons = [f"{s.name.removeprefix(prefix)}: {s.message or LEVELS[min(s.level, 3)]}" for s in statuses if s.level]
    facts: dict[str, str] = {}
    answers: dict[str, int] = {}
    topics: dict[str, dict[str, int]] = {}
    drops: Counter[str] = Counter()
    for status in statuses:
        name = status.name.removeprefix(prefix)
        if name.startswith("/"):
            topics[name] = counts = {key: _count(value) for key, value in status.values.items()}
            for key, count in counts.items():
                if key.startswith(DROPPED) and count:
                    drops[key.removeprefix(DROPPED)] += count
            continue
        for key, value in status.values.items():
            if key.startswith(ANSWERS):
                answers[key.removeprefix(ANSWERS)] = _count(value)
            else:
                facts[key if name == "node" else f"{name} {key}"] = value
    if facts.get("state", "active") != "active":
        verdict = ERROR
        reasons.insert(0, f"the node is {facts['state']}: it answers no request")
    if age > silence:
        verdict = ERROR
        reasons.insert(0, f"silent for {age:.0f} s: what is below is old")
    return Health(verdict, reasons, facts, answers, topics, drops)


def health_html(node: str, health: Health) -> str:
    """The health as HTML; what came from the network is escaped."""
    answers = {"answered": health.answers.get("NONE", 0), **health.answers}
    tables = {
        "facts": ("", {key: health.facts.get(key) for key in (*FACTS, *health.facts) if health.facts.get(key)}),
        "answers": (
            "Answers, errors by code",
            {k: n for k, n in answers.items() if k == "answered" or n and k != "NONE"},
        ),
        "drops": ("Messages dropped, by reason", health.drops or {"none": 0}),
    }
    topics = {topic: counts for topic, counts in health.topics.items() if any(counts.values())}
    return HTML.render(node=node, health=health, colour=COLOURS[health.verdict], tables=tables, topics=topics)


def _count(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        return 0
