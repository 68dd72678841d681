# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""docs/interfaces.md: tables of what the nodes have, and of the fields of this package's messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gld_ros.ros.interface.graph import Endpoint, Interfaces, ParameterFacts
from gld_ros.ros.interface.meanings import CAMERA, DASHBOARD, EVERY_NODE, LIFECYCLE_NODE, ROS_PARAMETERS
from gld_ros.ros.node.topics import MEANINGS

SECTIONS = [(("gld_node",), MEANINGS), (("gld_sim_camera", "gld_replay"), CAMERA), (("gld_dashboard",), DASHBOARD)]
TABLES = {
    "subscribes": ("Subscribed topics", "topic"),
    "publishes": ("Published topics", "topic"),
    "serves": ("Services", "service"),
    "executes": ("Actions", "action"),
}
COMMON = {**EVERY_NODE, **LIFECYCLE_NODE}
PARTS = {".msg": [""], ".srv": ["Request", "Response"], ".action": ["Goal", "Result", "Feedback"]}
HEADER = """# Interfaces

<!-- Written by `make docs` from the nodes and from msg/, srv/ and action/. Do not edit. -->
Names: `~/x` is below the node's own name (`/gld_node/x`), `x` below its namespace, `/x` as it is. Latched topics
(transient local) also reach who subscribes later. All publishers are reliable; best effort subscribers take both kinds.
"""


def interface_page(nodes: dict[str, Interfaces], parameters: dict[str, list[ParameterFacts]], root: Path) -> str:
    """The whole page. root: checkout whose msg/, srv/ and action/ are listed."""
    lines = [HEADER]
    for names, meanings in SECTIONS:
        lines.append("## " + " and ".join(f"`{name}`" for name in names) + "\n")
        together = Interfaces()
        for name in names:
            together |= nodes[name]
        for kind, (title, column) in TABLES.items():
            own = [e for e in getattr(together, kind) if not _is_common(kind, e.name, meanings)]
            if own:
                lines += [f"### {title}\n", *_endpoint_table(column, own, meanings), ""]
        lines += ["### Parameters\n", *_parameter_table({name: parameters[name] for name in names}), ""]
    lines += _common_section(nodes)
    for folder in ("msg", "srv", "action"):
        for file in sorted((root / folder).glob(f"*.{folder}")):
            lines += _file_section(file)
    return "\n".join(lines).rstrip() + "\n"


def template_name(name: str) -> str:
    """The name under which a topic is described: that of a camera becomes NAME."""
    return re.sub(r"^camera/", "NAME/", name)


def _is_common(kind: str, name: str, meanings: dict[str, str]) -> bool:
    return name in COMMON and not (kind == "publishes" and name in meanings)


def _endpoint_table(column: str, endpoints: Iterable[Endpoint], meanings: dict[str, str]) -> list[str]:
    with_qos = column == "topic"
    rows: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        rows.setdefault(template_name(endpoint.name), []).append(endpoint)
    order = {name: position for position, name in enumerate(meanings)}
    table = _head([column, "type", *(["QoS"] if with_qos else []), "meaning"])
    for name in sorted(rows, key=lambda name: (order.get(name, len(order)), name)):
        types = " or ".join(dict.fromkeys(f"`{_short(e.type)}`" for e in rows[name]))
        cells = [f"`{name}`", types, *([rows[name][0].qos] if with_qos else []), meanings.get(name, "")]
        table.append(_row(cells))
    return table


def _parameter_table(parameters: dict[str, list[ParameterFacts]]) -> list[str]:
    """Of several nodes: with a column that says whose they are."""
    own = {node: [p for p in facts if p.name not in ROS_PARAMETERS] for node, facts in parameters.items()}
    whose: dict[ParameterFacts, list[str]] = {}
    for node, facts in own.items():
        for fact in facts:
            whose.setdefault(_hashable(fact), []).append(node)
    several = len(parameters) > 1
    table = _head(["parameter", *(["of"] if several else []), "default", "live", "meaning"])
    for fact, nodes in whose.items():
        default = f"`{_value(fact.default)}`" if fact.default != "" else ""
        of = [" and ".join(f"`{node}`" for node in nodes) if len(nodes) < len(parameters) else "all"] if several else []
        meaning = _sentence(fact.meaning) + (f" {_sentence(fact.limits)}" if fact.limits else "")
        table.append(_row([f"`{fact.name}`", *of, default, "yes" if fact.live else "no", meaning]))
    return table


def _common_section(nodes: dict[str, Interfaces]) -> list[str]:
    lines = ["## Every node\n", "The topics and services that ROS gives to every node.\n"]
    everything = Interfaces()
    for interfaces in nodes.values():
        everything |= interfaces
    rows: dict[str, tuple[str, str]] = {}
    for kind, (_, column) in TABLES.items():
        for endpoint in getattr(everything, kind):
            if endpoint.name in COMMON and not (kind == "publishes" and endpoint.name in CAMERA):
                verb = {"subscribes": "subscribed topic", "publishes": "published topic"}.get(kind, column)
                rows[endpoint.name] = (verb, endpoint.type)
    table = _head(["name", "is", "type", "meaning"])
    table += [_row([f"`{n}`", rows[n][0], f"`{_short(rows[n][1])}`", EVERY_NODE[n]]) for n in EVERY_NODE if n in rows]
    lines += [*table, "", "`gld_node` is a lifecycle node as well:\n"]
    table = _head(["name", "is", "type", "meaning"])
    table += [
        _row([f"`{n}`", rows[n][0], f"`{_short(rows[n][1])}`", LIFECYCLE_NODE[n]]) for n in LIFECYCLE_NODE if n in rows
    ]
    lines += [*table, "", *_head(["parameter", "live", "meaning"])]
    live = {"use_sim_time": "yes", "start_type_description_service": "no"}
    lines += [_row([f"`{name}`", live[name], meaning]) for name, meaning in ROS_PARAMETERS.items()]
    return [*lines, ""]


@dataclass
class Part:
    """One part of an interface file. constants, fields: rows (name, type or value, meaning)."""

    intro: list[str] = field(default_factory=list)
    constants: list[tuple[str, str, str]] = field(default_factory=list)
    fields: list[tuple[str, str, str]] = field(default_factory=list)


def parse_interface(text: str) -> list[Part]:
    """The parts of a .msg, .srv or .action file with their comments: before a field, or behind it on its line."""
    parts = [Part()]
    comment: list[str] = []
    for line in (line.strip() for line in text.splitlines()):
        if line == "---":
            parts.append(Part())
            comment = []
        elif line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif not line:
            if not parts[-1].fields and not parts[-1].constants:
                parts[-1].intro += comment
            comment = []
        else:
            declaration, _, behind = (part.strip() for part in line.partition("#"))
            kind, rest = declaration.split(None, 1)
            if "=" in rest:
                name, value = rest.split("=", 1)
                parts[-1].constants.append((name.strip(), value.strip(), behind or " ".join(comment)))
            else:
                parts[-1].fields.append((rest.split()[0], kind, behind or " ".join(comment)))
    return parts


def _file_section(file: Path) -> list[str]:
    parts = parse_interface(file.read_text())
    lines = [f"## `gld_ros/{file.parent.name}/{file.stem}`\n"]
    for title, part in zip(PARTS[file.suffix], parts, strict=True):
        if part.intro:
            lines += [" ".join(part.intro), ""]
        if title:
            lines += [f"### {title}\n"]
        if part.constants:
            lines += [*_head(["constant", "value", "meaning"])]
            lines += [*(_row([f"`{n}`", v, _sentence(m)]) for n, v, m in part.constants), ""]
        if part.fields:
            lines += [*_head(["field", "type", "meaning"])]
            lines += [*(_row([f"`{n}`", f"`{k}`", _sentence(m)]) for n, k, m in part.fields), ""]
        if not part.fields:
            lines += ["No fields.", ""]
    return lines


def _head(columns: list[str]) -> list[str]:
    return [_row(columns), "|" + "---|" * len(columns)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _short(type_name: str) -> str:
    """package/msg/Name without its middle, as ROS users write it."""
    return re.sub(r"/(msg|srv|action)/", "/", type_name)


def _value(default: object) -> str:
    """As YAML: what goes behind `-p NAME:=`."""
    return default if isinstance(default, str) else json.dumps(default)


def _hashable(fact: ParameterFacts) -> ParameterFacts:
    default = (
        _value(fact.default) if isinstance(fact.default, list) or not isinstance(fact.default, str) else fact.default
    )
    return ParameterFacts(fact.name, default, fact.live, fact.meaning, fact.limits)


def _sentence(text: str) -> str:
    """A fragment as a sentence; whole ones, and those that begin with a name, keep their first letter."""
    text = text.replace("|", "\\|")
    if not text or text.endswith((".", "?", "!")):
        return text
    is_name = text.split()[0].endswith((":", ";"))
    return (text if is_name else text[0].upper() + text[1:]) + "."
