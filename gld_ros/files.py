# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear whole or not at all, and hashes; without torch, which takes seconds to import."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gld_ros.errors import FileError


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


class NewFolder:
    """A folder that appears whole or not at all. `path`: where to write meanwhile, of the same name, not there yet."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError("it is no folder")
        self._around = self.folder.with_name(f".{self.folder.name}.{os.getpid()}")
        shutil.rmtree(self._around, ignore_errors=True)
        self._around.mkdir(parents=True)
        self.path = self._around / self.folder.name

    def finish(self) -> None:
        """Put it in its place; of a folder that is there, files of the same names are replaced."""
        if not self.folder.exists():
            os.replace(self.path, self.folder)
        else:
            for new in sorted(path for path in self.path.rglob("*") if path.is_file()):
                old = self.folder / new.relative_to(self.path)
                old.parent.mkdir(parents=True, exist_ok=True)
                os.replace(new, old)
        self.drop()

    def drop(self) -> None:
        """Leave nothing of it."""
        shutil.rmtree(self._around, ignore_errors=True)


@contextmanager
def replacing_folder(folder: str | Path) -> Iterator[Path]:
    """An empty folder to write into, which becomes `folder`, or a part of it, at the end; after an error nothing of it
    is left. Raises FileError where it cannot be written."""
    new = None
    try:
        new = NewFolder(folder)
        new.path.mkdir()
        yield new.path
        new.finish()
    except OSError as error:
        raise FileError(f"{folder}: cannot be written: {error}") from None
    finally:
        if new is not None:
            new.drop()


def write_text(path: Path, text: str) -> None:
    """A text file that appears whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """A file that appears whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
