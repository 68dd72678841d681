# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Maps on disk: NAME.npz holds all of one, NAME.ply its points for other programs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from gld_ros.errors import FileError, InvalidRequest
from gld_ros.files import replacing, write_bytes
from gld_ros.scene.map.voxels import MapPoints, VoxelGrid, VoxelTable
from gld_ros.scene.ply import Points, write_ply

FORMAT = "gld_ros map 1"
BYTES_A_VOXEL = 128  # of both layers together, with room to spare: a bound for what a file may ask to be read
HEADERS = 1 << 16


def save(
    path: Path,
    backend: str,
    grid: VoxelGrid,
    tables: dict[str, VoxelTable],
    observed: MapPoints,
    generated: MapPoints,
) -> list[Path]:
    """Write the layers' `tables` and points; returns the two files. Raises FileError where they cannot be written."""
    arrays = {f"{layer}_{name}": array for layer in tables for name, array in _columns(tables[layer]).items()}
    buffer = io.BytesIO()
    head = {"format": np.array(FORMAT), "backend": np.array(backend)}
    np.savez(buffer, **head, voxel_size=np.array(grid.voxel_size), origin=grid.origin, **arrays)  # type: ignore[arg-type]
    npz, ply = path.with_name(path.name + ".npz"), path.with_name(path.name + ".ply")
    both = (observed, generated)
    points = Points(
        np.concatenate([p.xyz for p in both]),
        np.concatenate([p.rgb for p in both]),
        np.concatenate([p.confidence for p in both]),
        np.repeat([False, True], [len(p.xyz) for p in both]),
    )
    try:
        with replacing(ply) as temporary:
            write_ply(temporary, points)
            write_bytes(npz, buffer.getvalue())
    except OSError as error:
        raise FileError(f"{path}: the map cannot be written: {error}") from None
    return [npz, ply]


def load(
    path: Path, backend: str, voxel_size: float, max_voxels: int, types: dict[str, np.dtype]
) -> tuple[VoxelGrid, dict[str, VoxelTable]]:
    """The grid and the layers' tables of NAME.npz; types: of their rows.

    Raises FileError for a file that is missing, damaged or no map, InvalidRequest for a map of other settings.
    """
    npz = path.with_name(path.name + ".npz")
    arrays = _read(npz, max_voxels * BYTES_A_VOXEL + HEADERS)
    for what, expected in (("format", FORMAT), ("backend", backend), ("voxel_size", voxel_size)):
        found = arrays.get(what, np.array("missing"))
        if found.shape or found.item() != expected:
            kind = FileError if what == "format" else InvalidRequest
            raise kind(f"{npz}: {what} is {found}, expected {expected}")
    origin = arrays.get("origin", np.empty(0))
    if origin.shape != (3,) or origin.dtype != np.float64 or not np.isfinite(origin).all():
        raise FileError(f"{npz}: origin is {origin}, expected three coordinates in metres")
    return VoxelGrid(voxel_size, origin), {layer: _table(npz, arrays, layer, kind) for layer, kind in types.items()}


def _read(npz: Path, limit: int) -> dict[str, np.ndarray]:
    """The arrays of a file of at most `limit` bytes."""
    try:
        with zipfile.ZipFile(npz) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size <= limit:
            with np.load(npz, allow_pickle=False) as file:  # checks the CRC-32 of what it reads
                return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise FileError(f"{npz}: there is no such file") from None
    except Exception as error:  # zipfile and numpy raise BadZipFile, zlib.error, ValueError, EOFError, OSError, ...
        raise FileError(f"{npz}: truncated or corrupted: {type(error).__name__}: {error}") from None
    raise FileError(f"{npz}: {size} bytes, more than the {limit} of the largest map this one can hold")


def _columns(table: VoxelTable) -> dict[str, np.ndarray]:
    return {"keys": table.keys, **{name: table.rows[name] for name in table.rows.dtype.names or ()}}


def _table(npz: Path, arrays: dict[str, np.ndarray], layer: str, kind: np.dtype) -> VoxelTable:
    """The table of a layer, every column of which is checked: nothing else would notice a wrong number later."""
    count = arrays.get(f"{layer}_keys", np.empty(0)).size
    table = VoxelTable(kind, np.empty(count, np.int64))
    for name, column in _columns(table).items():
        found = arrays.get(f"{layer}_{name}", np.empty(0))
        if found.shape != column.shape or found.dtype != column.dtype:
            kinds = [f"{a.dtype}{list(a.shape)}" for a in (found, column)]
            raise FileError(f"{npz}: {layer}_{name} is {kinds[0]}, expected {kinds[1]}")
        if not np.isfinite(found).all():
            raise FileError(f"{npz}: {layer}_{name} holds numbers that are not finite")
        column[...] = found
    if not (np.diff(table.keys) > 0).all():
        raise FileError(f"{npz}: {layer}_keys are not in order")
    return table
