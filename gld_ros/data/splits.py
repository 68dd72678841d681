# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Split files: which scenes, and which of their frames, a protocol uses.

Read are the index of pixelSplat and MVSplat (JSON: scene -> {"context": [...], "target": [...]} or null), JSON lists of
names, and lists of names as text or CSV (DL3DV: a line a scene; of a CSV with a header, the column `hash` or `scene`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from gld_ros.data.reading import read_json, read_text
from gld_ros.errors import InvalidRequest

NAME_COLUMNS = ("hash", "scene")


@dataclass(frozen=True)
class Entry:
    """One clip of a protocol: frame numbers of sources (context) and targets; empty where only scenes are listed."""

    scene: str
    context: tuple[int, ...] = ()
    target: tuple[int, ...] = ()


def read_split(path: str | Path, empty: bool = False) -> list[Entry]:
    """The entries of a split file; scenes that the index marks as unusable (null) are left out.

    Raises InvalidRequest naming the file where it cannot be read, says something else, or is empty, unless that is
    allowed (`empty`).
    """
    path = Path(path)
    entries = _index(read_json(path), path) if path.suffix == ".json" else _names(read_text(path))
    if not entries and not empty:
        raise InvalidRequest(f"{path}: an empty split; scenes are expected")
    return entries


def _index(content: object, path: Path) -> list[Entry]:
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return [Entry(name) for name in content]
    if not isinstance(content, dict):
        raise InvalidRequest(f"{path}: a list of names, or an object of scene: {{context, target}} is expected")
    entries = []
    for scene, views in content.items():
        if views is None:
            continue
        try:
            entries.append(Entry(scene, *(tuple(int(view) for view in views[key]) for key in ("context", "target"))))
        except (KeyError, TypeError, ValueError):
            raise InvalidRequest(f"{path}: {scene}: {{context: [...], target: [...]}} or null is expected") from None
    return entries


def _names(text: str) -> list[Entry]:
    rows = [row for row in csv.reader(text.splitlines()) if row and row[0].strip() and not row[0].startswith("#")]
    column = next((rows[0].index(name) for name in NAME_COLUMNS if rows and name in rows[0]), None)
    if column is not None:
        return [Entry(row[column].strip()) for row in rows[1:]]
    return [Entry(row[0].strip()) for row in rows]
