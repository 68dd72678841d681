# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld models verify`: every file, key, shape and number of a model folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gld_ros.errors import ModelError
from gld_ros.files import sha256, write_text
from gld_ros.weights.folder import STATISTICS, ModelFolder, Piece
from gld_ros.weights.integrity import SUMS, check_fully, known_files
from gld_ros.weights.layout import open_folder
from gld_ros.weights.loading import wrong_statistics
from gld_ros.weights.official import shortened


@dataclass
class FileReport:
    """One file. compared: what its content was compared with, "" if it could not be; problem: None if all is well."""

    file: str
    size: int
    compared: str
    problem: str | None


@dataclass
class Verification:
    """What was found; `problems` has a line for each, files and keys alike."""

    folder: ModelFolder
    files: list[FileReport]
    problems: list[str] = field(default_factory=list)

    def raise_problems(self) -> None:
        """ModelError that lists them all."""
        if self.problems:
            what = "problem" if len(self.problems) == 1 else "problems"
            raise ModelError(f"{self.folder.path}: {len(self.problems)} {what}\n  " + "\n  ".join(self.problems))


def verify(path: Path, on_file: Callable[[str], None] = lambda file: None) -> Verification:
    """Check a folder in the official layout or in ours. Raises ModelError if it is no model's folder at all.

    Hashes where they are recorded, else the checksums inside torch.save archives; keys and shapes; finite weights;
    finite statistics with positive variances. `on_file` is called with each file and component before it is read.
    """
    folder = open_folder(path)
    known = known_files(path)
    result = Verification(folder, [], [*folder.problems])
    for file in dict.fromkeys((*folder.files, *known)):
        on_file(file)
        compared, problem = check_fully(path, file, known.get(file))
        size = (path / file).stat().st_size if (path / file).is_file() else 0
        known_problem = next((line for line in folder.problems if line.startswith(f"{path / file}: ")), None)
        if problem and not known_problem:
            result.problems.append(f"{path / file}: {problem}")
        if known_problem and not problem:
            problem = known_problem.removeprefix(f"{path / file}: ")
        result.files.append(FileReport(file, size, compared, problem))
    result.problems += folder.misfits()
    for piece in folder.pieces:
        on_file(piece.component)
        if wrong := _wrong_numbers(piece):
            result.problems.append(f"{piece.component} ({piece.file}): {shortened(wrong)}")
    return result


def record(result: Verification) -> Path:
    """Write the sha256 of all files to SHA256SUMS, so that a later `verify` sees every changed byte."""
    lines = [f"{sha256(result.folder.path / file)}  {file}\n" for file in result.folder.files]
    write_text(result.folder.path / SUMS, "".join(lines))
    return result.folder.path / SUMS


def _wrong_numbers(piece: Piece) -> list[str]:
    if piece.component == STATISTICS:
        return wrong_statistics(piece.tensors)
    return [f"{key} is not finite" for key, tensor in piece.tensors.items() if not tensor.isfinite().all()]
