# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a node says of itself in its diagnostics, and a verdict that nobody can misread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

OK, WARN, ERROR = "OK", "WARN", "ERROR"
LEVELS = (OK, WARN, ERROR, ERROR)  # of DiagnosticStatus: OK, WARN, ERROR, STALE
COLOURS = {OK: "#1a7f37", WARN: "#9a6700", ERROR: "#cf222e"}
ANSWERS, DROPPED = "answers_", "dropped_"  # how the node's values for answers by code and drops by reason begin
FACTS = ("state", "model", "device", "latency_median_s", "latency_max_s", "key_frames")  # shown first, in this order
SILENCE = 5.0  # seconds without diagnostics after which nothing of them counts any more


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
    colour = COLOURS[health.verdict]
    badge = (
        f'<div id="verdict" style="background:{colour};color:white;padding:.4em .6em;border-radius:.3em;'
        f'font-weight:bold">{escape(node)}: {health.verdict}'
    )
    badge += "".join(f'<div style="font-weight:normal">{escape(reason)}</div>' for reason in health.reasons) + "</div>"
    first = {key: health.facts[key] for key in FACTS if health.facts.get(key)}
    rest = {key: value for key, value in health.facts.items() if key not in FACTS and value}
    succeeded = {code: count for code, count in health.answers.items() if code == "NONE"}
    failed = {code: count for code, count in health.answers.items() if code != "NONE" and count}
    parts = [
        badge,
        _table("facts", first | rest),
        _table("answers", {"answered": sum(succeeded.values())} | failed, "Answers, errors by code"),
        _table("drops", health.drops or {"none": 0}, "Messages dropped, by reason"),
        _topics(health.topics),
    ]
    return f'<div style="font-size:.8em;padding:.3em .8em">{"".join(parts)}</div>'


def _count(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        return 0


def _table(name: str, rows: Mapping[str, object], title: str = "") -> str:
    cells = "".join(
        f'<tr><td style="opacity:.7;padding-right:1em">{escape(key).replace("_", " ")}</td>'
        f"<td>{escape(str(value))}</td></tr>"
        for key, value in rows.items()
    )
    return f'{_title(title)}<table id="{name}">{cells}</table>'


def _topics(topics: Mapping[str, Mapping[str, int]]) -> str:
    head = "".join(
        f'<th style="text-align:right;font-weight:normal;opacity:.7">{word}</th>' for word in ("in", "out", "dropped")
    )
    rows = "".join(
        f'<tr><td style="overflow-wrap:anywhere">{escape(topic)}</td>'
        + "".join(
            f'<td style="text-align:right;padding-left:.6em">{counts.get(key, 0)}</td>'
            for key in ("received", "published", "dropped")
        )
        + "</tr>"
        for topic, counts in topics.items()
        if any(counts.values())
    )
    return f'{_title("Topics")}<table id="topics"><tr><td></td>{head}</tr>{rows}</table>'


def _title(title: str) -> str:
    return f'<div style="font-weight:bold;margin-top:.6em">{title}</div>' if title else ""
