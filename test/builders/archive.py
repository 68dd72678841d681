# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A small archive of sequences for `gld batch`, and what its outputs hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

from builders.datasets import rendered
from gld_ros.data.bag_writer import write_bag
from gld_ros.data.sequence import open_sequence, write_folder


def write_archive(root: Path, folders: int = 4) -> Path:
    """`folders` folders of 6 frames, room0, ..., a bag of the same, and a broken bag: `bag` and `broken`."""
    for number in range(folders):
        write_folder(root / f"room{number}", rendered(), depth_unit=0.0002)
    for name in ("bag", "broken"):
        write_bag(open_sequence(root / "room0"), root / name)
    (file,) = (root / "broken").glob("*.mcap")
    file.write_bytes(file.read_bytes()[:300])
    return root


def hashes(out: Path) -> dict[str, str]:
    """sha256 of the files of every sequence; the run's own files are left out."""
    files = [file for file in out.glob("*/**/*") if file.is_file()]
    return {str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}
