# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, and their hashes; without torch, which takes seconds to import."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write, which becomes `path` at the end; after an error nothing of it is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # half of one, from a disk that is full


def write_text(path: Path, text: str) -> None:
    """A text file that appears whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """A file that appears whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
