# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Binary PLY files of coloured points: x, y, z, red, green, blue, confidence, generated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gld_ros.errors import InvalidRequest

FIELDS = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    + [("confidence", "<f4"), ("generated", "u1")]
)
PLY_NAMES = {"f4": "float", "u1": "uchar"}


@dataclass(frozen=True)
class Points:
    """A cloud in the map frame.

    xyz: (N, 3) float32 metres. rgb: (N, 3) uint8. confidence: (N,) float32, 0..1. generated: (N,) bool, True = made up
    by the model.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray
    generated: np.ndarray


def _header(count: int) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    lines += [f"property {PLY_NAMES[kind.str[1:]]} {name}" for name, (kind, _) in FIELDS.fields.items()]  # type: ignore
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")


def write_ply(path: str | Path, points: Points) -> None:
    """Write `points`; `generated` is 255 for generated points and 0 for observed ones."""
    table = np.zeros(len(points.xyz), FIELDS)
    for column, name in enumerate("xyz"):
        table[name] = points.xyz[:, column]
    for column, name in enumerate(("red", "green", "blue")):
        table[name] = points.rgb[:, column]
    table["confidence"] = points.confidence
    table["generated"] = np.where(points.generated, 255, 0)
    Path(path).write_bytes(_header(len(table)) + table.tobytes())


def read_ply(path: str | Path) -> Points:
    """Read what `write_ply` wrote. Raises InvalidRequest for another layout or a truncated file."""
    data = Path(path).read_bytes()
    head, mark, body = data.partition(b"end_header\n")
    count = next((int(line.split()[2]) for line in head.split(b"\n") if line.startswith(b"element vertex ")), -1)
    if not mark or _header(count) != head + mark:
        raise InvalidRequest(f"{path}: not a binary PLY with the properties {', '.join(FIELDS.names or ())}")
    if len(body) != count * FIELDS.itemsize:
        raise InvalidRequest(f"{path}: {len(body)} bytes of points, {count * FIELDS.itemsize} expected; truncated?")
    table = np.frombuffer(body, FIELDS)
    return Points(
        xyz=np.stack([table["x"], table["y"], table["z"]], axis=1),
        rgb=np.stack([table["red"], table["green"], table["blue"]], axis=1),
        confidence=table["confidence"],
        generated=table["generated"] > 0,
    )
