# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Binary PLY files of coloured points: x, y, z, red, green, blue, confidence, generated.

float32 would lose the shape of points with UTM coordinates. Such files have a line `comment origin X Y Z` (whole
metres), which has to be added to x, y, z.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.points import local_origin

FIELDS = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    + [("confidence", "<f4"), ("generated", "u1")]
)
PLY_NAMES = {"f4": "float", "u1": "uchar"}


@dataclass(frozen=True)
class Points:
    """A cloud in the map frame.

    xyz: (N, 3) float64 metres. rgb: (N, 3) uint8. confidence: (N,) float32, 0..1. generated: (N,) bool, True = made up
    by the model.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    confidence: np.ndarray
    generated: np.ndarray

    @property
    def origin(self) -> np.ndarray:
        """(3,) what a PLY file counts from; zeros unless coordinates are large."""
        return local_origin(self.xyz)


def _header(count: int, origin: np.ndarray) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0"]
    if origin.any():
        lines.append(f"comment origin {' '.join(f'{value:.0f}' for value in origin)}")
    lines.append(f"element vertex {count}")
    lines += [f"property {PLY_NAMES[kind.str[1:]]} {name}" for name, (kind, _) in FIELDS.fields.items()]  # type: ignore
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")


def write_ply(path: str | Path, points: Points) -> None:
    """Write `points`; `generated` is 255 for generated points and 0 for observed ones."""
    table, origin = np.zeros(len(points.xyz), FIELDS), points.origin
    for column, name in enumerate("xyz"):
        table[name] = points.xyz[:, column] - origin[column]
    for column, name in enumerate(("red", "green", "blue")):
        table[name] = points.rgb[:, column]
    table["confidence"] = points.confidence
    table["generated"] = np.where(points.generated, 255, 0)
    Path(path).write_bytes(_header(len(table), origin) + table.tobytes())


def read_ply(path: str | Path) -> Points:
    """Read what `write_ply` wrote. Raises InvalidRequest for another layout or a truncated file."""
    data = Path(path).read_bytes()
    head, mark, body = data.partition(b"end_header\n")
    stated = re.search(rb"comment origin (-?\d+) (-?\d+) (-?\d+)\n", head)
    number = re.search(rb"element vertex (\d+)\n", head)
    origin = np.array([float(value) for value in stated.groups()] if stated else (0.0, 0.0, 0.0))
    count = int(number[1]) if number else -1
    if not mark or _header(count, origin) != head + mark:
        raise InvalidRequest(f"{path}: not a binary PLY with the properties {', '.join(FIELDS.names or ())}")
    if len(body) != count * FIELDS.itemsize:
        raise InvalidRequest(f"{path}: {len(body)} bytes of points, {count * FIELDS.itemsize} expected; truncated?")
    table = np.frombuffer(body, FIELDS)
    return Points(
        xyz=np.stack([table["x"], table["y"], table["z"]], axis=1) + origin,
        rgb=np.stack([table["red"], table["green"], table["blue"]], axis=1),
        confidence=table["confidence"],
        generated=table["generated"] > 0,
    )
