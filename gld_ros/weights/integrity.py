# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Are the files what they were? Recorded sizes and sha256, the checksums inside archives, finite numbers.

Hashes are found in a converted folder's config.json, in the release.json of a download, and in a SHA256SUMS file
(`sha256sum` format) that anyone may put beside the weights. Loading compares sizes, the sha256 of files up to QUICK
bytes and the checksums inside torch.save archives (3 GB a second); `gld models verify` compares everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gld_ros.errors import ModelError
from gld_ros.files import sha256
from gld_ros.weights.files import damage
from gld_ros.weights.layout import CONFIG, read_description, recorded
from gld_ros.weights.released_files import RELEASED, ReleasedFile, ReleasedModel

RECORD, SUMS = "release.json", "SHA256SUMS"
QUICK = 100_000_000


@dataclass(frozen=True)
class Known:
    """What is recorded of a file, and where."""

    source: str
    sha256: str | None = None
    size: int | None = None


def known_files(folder: Path) -> dict[str, Known]:
    """What is recorded of a folder's files, by path in it. Raises ModelError for records that cannot be read."""
    known = {}
    for line in _text(folder / SUMS).splitlines():
        digest, _, file = line.partition(" ")
        if file:
            known[file.lstrip(" *").removeprefix("./")] = Known(SUMS, digest)
    try:
        release = json.loads(_text(folder / RECORD) or "{}").get("files", {})
        tables = ((RECORD, release), (CONFIG, recorded(read_description(folder))))
        for source, files in tables:
            known |= {file: Known(source, entry.get("sha256"), entry.get("size")) for file, entry in files.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{folder}: the record of its files is not readable ({error})") from error
    return known


def check_quickly(folder: Path, files: list[str]) -> None:
    """Raise ModelError if a file has not its recorded size or, up to QUICK bytes, sha256. Missing files are skipped."""
    known = known_files(folder)
    for file in files:
        path = folder / file
        if file not in known or not path.is_file():
            continue
        size = path.stat().st_size
        if known[file].size not in (None, size) or (size <= QUICK and not _matches(path, known[file])):
            raise ModelError(f"{path}: {_unlike(known[file])}")


def check_archives(folder: Path, files: list[str]) -> None:
    """Raise ModelError for torch.save archives with a member that its checksum contradicts."""
    for path in (folder / file for file in files):
        if path.suffix == ".pt" and (broken := damage(path)):
            raise ModelError(f"{path}: {broken}")


def check_fully(folder: Path, file: str, known: Known | None) -> tuple[str, str | None]:
    """(what its content was compared with, what is wrong with it or None), of one file."""
    path = folder / file
    if not path.is_file():
        return "", "missing"
    if path.suffix == ".pt" and (broken := damage(path)):
        return "", broken
    if known is not None and known.sha256:
        return known.source, None if _matches(path, known) else _unlike(known)
    compared = "nothing" if path.suffix != ".pt" else "its own CRC"
    published = {where: entry for model in RELEASED.values() for where, entry in _entries(model)}.get(file)
    if published and published.sha256 and published.size in (None, path.stat().st_size):
        if sha256(path) == published.sha256:
            return "the published file", None
        compared += " (it is not the published file)"
    return compared, None


def _entries(model: ReleasedModel) -> Iterator[tuple[str, ReleasedFile]]:
    """A model's files by their paths in its folder."""
    for file in model.statistics:
        yield file.path, file
    for source in model.sources:
        for file in source.files:
            yield str(Path(source.folder) / file.path), file


def _matches(path: Path, known: Known) -> bool:
    return known.sha256 in (None, sha256(path))


def _unlike(known: Known) -> str:
    digest = f"{known.sha256[:12]}..." if known.sha256 else "of another size"
    return f"corrupted or incomplete, its sha256 is not the {digest} of {known.source}"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not readable ({error})") from error
