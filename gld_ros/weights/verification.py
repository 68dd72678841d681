# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of a model folder: recorded sizes and sha256, checksums inside archives, keys, shapes, finite numbers.

Hashes are recorded in a converted folder's config.json, in the release.json of a download, and in a SHA256SUMS file
(`sha256sum` format) that anyone may put beside the weights. Loading compares sizes, the sha256 of files up to QUICK
bytes, that of files which nothing else tells apart, and the checksums inside torch.save archives (3 GB a second);
`gld models verify` compares everything.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gld_ros.errors import ModelError
from gld_ros.files import sha256, write_text
from gld_ros.weights.folder import STATISTICS, ModelFolder, shortened
from gld_ros.weights.layout import CONFIG, open_folder, read_description, recorded
from gld_ros.weights.released_files import RECORD, RELEASED
from gld_ros.weights.tensor_files import damage

SUMS = "SHA256SUMS"
QUICK = 100_000_000


@dataclass(frozen=True)
class Known:
    """The record of a file, and where it is."""

    source: str
    sha256: str | None = None
    size: int | None = None

    def problem(self) -> str:
        """The sentence for a file whose content is not the recorded one."""
        digest = f"{self.sha256[:12]}..." if self.sha256 else "of another size"
        return f"corrupted or incomplete, its sha256 is not the {digest} of {self.source}"


@dataclass
class FileReport:
    """One file. compared: what its content was compared with, "" if it could not be; problem: None if all is well."""

    file: str
    size: int
    compared: str
    problem: str | None


@dataclass
class Verification:
    """The result of `verify`; `problems` has a line for each, files and keys alike."""

    folder: ModelFolder
    files: list[FileReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def known_files(folder: Path) -> dict[str, Known]:
    """The records of a folder's files, by path in it. Raises ModelError for records that cannot be read."""
    known = {}
    for line in _text(folder / SUMS).splitlines():
        digest, _, file = line.partition(" ")
        if file:
            known[file.lstrip(" *").removeprefix("./")] = Known(SUMS, digest)
    try:
        release = json.loads(_text(folder / RECORD) or "{}").get("files", {})
        for source, files in ((RECORD, release), (CONFIG, recorded(read_description(folder)))):
            known |= {file: Known(source, entry.get("sha256"), entry.get("size")) for file, entry in files.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{folder}: the record of its files is not readable ({error})") from error
    return known


def opened(path: Path) -> ModelFolder:
    """A folder whose files, keys and shapes are what they should be, before anything of it is loaded.

    Raises ModelError for files that have not their recorded size or, up to QUICK bytes, sha256, for interchangeable
    files that have not their recorded sha256, for archives with a member that its checksum contradicts, for keys and
    shapes that do not fit, and for statistics that are not numbers.
    """
    folder = open_folder(path)
    known = known_files(path)
    for file in (file for file in folder.files if file in known and (path / file).is_file()):
        size, record = (path / file).stat().st_size, known[file]
        hashed = size <= QUICK or file in folder.interchangeable
        problem = _mismatch(path, file, known) if hashed else None
        if record.size not in (None, size):
            problem = problem or record.problem()
        if problem:
            raise ModelError(f"{path / file}: {problem}")
    folder.refuse([*folder.problems, *folder.misfits()])
    for file in folder.files:
        if file.endswith(".pt") and (broken := damage(path / file)):
            raise ModelError(f"{path / file}: {broken}")
    for component in folder.components:
        if component.name == STATISTICS and (wrong := component.wrong_numbers()):
            raise ModelError(f"{path}: {component.file}: {'; '.join(wrong)}")
    for notice in (*folder.notices, *_unrecorded(folder, known)):
        warnings.warn(f"{path}: {notice}", stacklevel=2)
    return folder


def verify(path: Path, on_file: Callable[[str], None] = lambda file: None) -> Verification:
    """Check a folder in the official layout or in ours. Raises ModelError if it is no model's folder at all.

    Hashes where they are recorded, else the checksums inside torch.save archives; keys and shapes; finite weights;
    finite statistics with positive variances. `on_file` is called with each file and component before it is read.
    """
    folder = open_folder(path)
    known = known_files(path)
    folder.notices += _unrecorded(folder, known)
    result = Verification(folder, problems=[*folder.problems])
    for file in dict.fromkeys((*folder.files, *known)):
        on_file(file)
        compared, problem = _compare(path, file, known)
        named = f"{path / file}: "
        reading = next((line.removeprefix(named) for line in folder.problems if line.startswith(named)), None)
        if problem and not reading:
            result.problems.append(named + problem)
        size = (path / file).stat().st_size if (path / file).is_file() else 0
        result.files.append(FileReport(file, size, compared, problem or reading))
    result.problems += folder.misfits()
    for component in folder.components:
        on_file(component.name)
        if wrong := component.wrong_numbers():
            result.problems.append(f"{component.name} ({component.file}): {shortened(wrong)}")
    return result


def record(result: Verification) -> Path:
    """Write the sha256 of all files to SHA256SUMS, so that a later `verify` sees every changed byte."""
    lines = [f"{sha256(result.folder.path / file)}  {file}\n" for file in result.folder.files]
    write_text(result.folder.path / SUMS, "".join(lines))
    return result.folder.path / SUMS


def weights_of(folder: Path) -> dict[str, str]:
    """sha256 of every file of a model folder, as recorded or else computed."""
    known = known_files(folder)
    return {file: known.get(file, Known("")).sha256 or sha256(folder / file) for file in open_folder(folder).files}


def _unrecorded(folder: ModelFolder, known: Mapping[str, Known]) -> list[str]:
    """The notice about interchangeable files of which no hash is recorded."""
    if not folder.interchangeable or all(file in known and known[file].sha256 for file in folder.interchangeable):
        return []
    return [
        f"{' and '.join(folder.interchangeable)} have the same keys and shapes, and no hash of theirs is recorded: "
        "exchanged, they would load and give wrong images. Compare them with their source, then run "
        "gld models verify --record"
    ]


def _mismatch(folder: Path, file: str, known: Mapping[str, Known]) -> str | None:
    """The sentence for a file whose sha256 is not the recorded one; it names the file that should have this content."""
    record = known[file]
    if record.sha256 is None or (digest := sha256(folder / file)) == record.sha256:
        return None
    other = next((name for name, entry in known.items() if entry.sha256 == digest), None)
    return f"its content is that of {other} in {record.source}: exchanged?" if other else record.problem()


def _compare(folder: Path, file: str, known: Mapping[str, Known]) -> tuple[str, str | None]:
    """(what the content of a file was compared with, what is wrong with it or None)."""
    path, record = folder / file, known.get(file)
    if not path.is_file():
        return "", "missing"
    archive = path.suffix == ".pt"
    if archive and (broken := damage(path)):
        return "", broken
    if record is not None and record.sha256:
        return record.source, _mismatch(folder, file, known)
    published = {where: entry for model in RELEASED.values() for where, entry in model.files()}.get(file)
    compared = "its own CRC" if archive else "nothing"
    if published and published.sha256 and published.size in (None, path.stat().st_size):
        if sha256(path) == published.sha256:
            return "the published file", None
        compared += " (it is not the published file)"
    return compared, None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not readable ({error})") from error
