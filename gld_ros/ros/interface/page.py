# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""docs/interfaces.md: what the nodes declare, and the fields of this package's messages."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from gld_ros.ros.dashboard import node as dashboard
from gld_ros.ros.declarations import EVERY_NODE, ROS_PARAMETERS, Endpoint, Table, limits_in_words
from gld_ros.ros.drivers import player
from gld_ros.ros.drivers.replay import ReplayParameters
from gld_ros.ros.drivers.sim_camera import SimCameraParameters
from gld_ros.ros.node import topics
from gld_ros.ros.node.parameters import Parameters

SECTIONS: list[tuple[Table, dict[str, type]]] = [
    (topics.INTERFACE, {"gld_node": Parameters}),
    (player.INTERFACE, {"gld_sim_camera": SimCameraParameters, "gld_replay": ReplayParameters}),
    (dashboard.INTERFACE, {"gld_dashboard": dashboard.Parameters}),
]
TITLES = {
    "subscribes": ("Subscribed topics", "topic"),
    "publishes": ("Published topics", "topic"),
    "serves": ("Services", "service"),
    "executes": ("Actions", "action"),
}
PARTS = {".msg": [""], ".srv": ["Request", "Response"], ".action": ["Goal", "Result", "Feedback"]}
HEADER = """# Interfaces

<!-- Written by `make docs` from what the nodes declare and from msg/, srv/ and action/. Do not edit. -->
Names: `~/x` is below the node's own name (`/gld_node/x`), `x` below its namespace, `/x` as it is. Latched topics
(transient local) also reach who subscribes later. All publishers are reliable; best effort subscribers take both kinds.
"""


def interface_page(root: Path) -> str:
    """The whole page. root: checkout whose msg/, srv/ and action/ are listed."""
    lines = [HEADER]
    for table, parameters in SECTIONS:
        lines.append("## " + " and ".join(f"`{name}`" for name in parameters) + "\n")
        for kind, (title, column) in TITLES.items():
            if kind in table:
                lines += [f"### {title}\n", *_endpoints(column, table[kind]), ""]
        lines += ["### Parameters\n", *_parameters(parameters), ""]
    lines += ["## Every node\n", "The topics and services that ROS gives to every node.\n", *_common(EVERY_NODE), ""]
    lines += ["`gld_node` is a lifecycle node as well:\n", *_common(topics.LIFECYCLE), ""]
    lines += [*_table(["parameter", "live", "meaning"], ((f"`{n}`", *told) for n, told in ROS_PARAMETERS.items())), ""]
    for folder in ("msg", "srv", "action"):
        for file in sorted((root / folder).glob(f"*.{folder}")):
            lines += _message(file)
    return "\n".join(lines).rstrip() + "\n"


def _endpoints(column: str, endpoints: dict[str, Endpoint]) -> list[str]:
    if column == "topic":
        rows = [(f"`{name}`", _types(e), qos_in_words(e.qos), e.meaning) for name, e in endpoints.items()]
        return _table([column, "type", "QoS", "meaning"], rows)
    return _table([column, "type", "meaning"], ((f"`{name}`", _types(e), e.meaning) for name, e in endpoints.items()))


def _common(table: Table) -> list[str]:
    verbs = {"publishes": "published topic", "subscribes": "subscribed topic", "serves": "service"}
    return _table(
        ["name", "is", "type", "meaning"],
        ((f"`{name}`", verbs[kind], _types(e), e.meaning) for kind in table for name, e in table[kind].items()),
    )


def _parameters(nodes: dict[str, type]) -> list[str]:
    """A table for several nodes, with a column that says whose each row is."""
    whose: dict[tuple[str, ...], list[str]] = {}
    for node, parameters in nodes.items():
        for f in dataclasses.fields(parameters):
            default = (
                f"`{f.default if isinstance(f.default, str) else json.dumps(f.default)}`" if f.default != "" else ""
            )
            meaning = f"{_sentence(f.metadata['description'])} {_sentence(limits_in_words(f))}".strip()
            row = (f"`{f.name}`", default, "yes" if f.metadata["live"] else "no", meaning)
            whose.setdefault(row, []).append(node)
    if len(nodes) == 1:
        return _table(["parameter", "default", "live", "meaning"], whose)
    shared_first = sorted(whose.items(), key=lambda item: -len(item[1]))
    rows = ((name, "all" if len(of) == len(nodes) else f"`{of[0]}`", *rest) for (name, *rest), of in shared_first)
    return _table(["parameter", "of", "default", "live", "meaning"], rows)


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


def _message(file: Path) -> list[str]:
    lines = [f"## `gld_ros/{file.parent.name}/{file.stem}`\n"]
    for title, part in zip(PARTS[file.suffix], parse_interface(file.read_text()), strict=True):
        lines += [" ".join(part.intro), ""] if part.intro else []
        lines += [f"### {title}\n"] if title else []
        if part.constants:
            rows = ((f"`{name}`", value, _sentence(meaning)) for name, value, meaning in part.constants)
            lines += [*_table(["constant", "value", "meaning"], rows), ""]
        fields = ((f"`{name}`", f"`{kind}`", _sentence(meaning)) for name, kind, meaning in part.fields)
        lines += [*_table(["field", "type", "meaning"], fields), ""] if part.fields else ["No fields.", ""]
    return lines


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, *rows)]
    return [lines[0], "|" + "---|" * (lines[0].count("|") - 1), *lines[1:]]


def type_names(endpoint: Endpoint) -> list[str]:
    """package/Name of each type, as ROS users write it."""
    types = endpoint.type if isinstance(endpoint.type, tuple) else (endpoint.type,)
    return [f"{kind.__module__.split('.')[0]}/{kind.__name__}" for kind in types]


def _types(endpoint: Endpoint) -> str:
    return " or ".join(f"`{name}`" for name in type_names(endpoint))


def qos_in_words(qos: QoSProfile) -> str:
    """ "reliable, latched" and the like."""
    reliable = qos.reliability != ReliabilityPolicy.BEST_EFFORT
    latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return ("reliable" if reliable else "best effort") + (", latched" if latched else "")


def _sentence(text: str) -> str:
    """A fragment as a sentence; whole ones, and those that begin with a name, keep their first letter."""
    text = text.replace("|", "\\|")
    if not text or text.endswith((".", "?", "!")):
        return text
    is_name = text.split()[0].endswith((":", ";"))
    return (text if is_name else text[0].upper() + text[1:]) + "."
