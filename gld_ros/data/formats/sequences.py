# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Posed sequences as scenes: what the formats of these share."""

from __future__ import annotations

import logging
import os
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from gld_ros.data.bad_frames import BadFrames, usable
from gld_ros.data.scenes import Scenes, existing_folder
from gld_ros.data.sequence import Frame, Sequence
from gld_ros.errors import InvalidRequest

log = logging.getLogger(__name__)

#: A file or folder, perhaps in a zip.
Place = Any
T = TypeVar("T")


class SequenceScenes(Scenes):
    """Posed sequences below a folder, or the folder itself, each found by its files and named by its path.

    camera: one of a rig's; None takes all of them. frames: "FIRST-END", those of each sequence from number FIRST up to
    END, in time order; None takes all of them.
    skip_bad_frames: leave frames out that cannot be used (`bad_frames`), instead of an error.

    A format says what its sequences are known by (`expected`, for messages), how to tell one (`accepts`) and how to
    read it (`open`). That and its line in `scenes.KINDS` make every command take it.
    """

    expected: ClassVar[str]
    switches = frozenset({"skip_bad_frames"})
    skip_bad_frames = False

    def __init__(self, path: str | Path, camera: str | None = None, frames: str | None = None) -> None:
        self.part = slice(None) if frames is None else frame_range(frames)
        self.camera = camera
        found = self.find_sequences(Path(path))
        self.paths = [sequence for _, sequence in found]
        super().__init__([name for name, _ in found], f"{path} ({self.expected})")

    @staticmethod
    @abstractmethod
    def accepts(path: Path) -> bool:
        """True for a folder (or a file) that is one sequence; looks at names only."""

    @abstractmethod
    def open(self, path: Path) -> Sequence:
        """One sequence, its pixels not yet loaded. Raises InvalidRequest naming the file and what is wrong."""

    def sequence(self, path: Path) -> Sequence:
        """`open`, of it the frames that the options choose. Raises InvalidRequest where these are none."""
        opened = self.open(path)
        if self.camera is not None or self.part != slice(None):
            chosen = in_time(opened, self.camera)
            if not chosen[self.part]:
                raise InvalidRequest(f"{path}: no frames of these numbers, it has {len(chosen)}")
            opened = replace(opened, frames=chosen[self.part])
        return usable(opened, self.skip_bad_frames)

    def find_sequences(self, root: Path) -> list[tuple[str, Path]]:
        """Name and path of each; it does not look into those."""
        if self.accepts(root):
            return [(root.resolve().name, root)]
        found = []
        for text, below, _ in os.walk(existing_folder(root)):
            if self.accepts(folder := Path(text)):
                found.append((folder.relative_to(root).as_posix(), folder))
                below.clear()
            below[:] = sorted(name for name in below if not name.startswith("."))  # those are not finished
        return found

    def read(self, index: int) -> list[Frame]:
        return in_time(self.sequence(self.paths[index]))

    def good_frames(self, where: Path, entries: Iterable[T], make: Callable[[T], Frame | None]) -> list[Frame]:
        """Frames that `make` makes of the entries. An entry without a pose at its time (None) is counted and left out.

        An error that `make` raises is settled as `bad_frames` says.
        """
        bad, made = BadFrames(self.skip_bad_frames), []
        for entry in entries:
            with bad.caught():
                made.append(make(entry))
        frames = [frame for frame in made if frame is not None]
        bad.settle(str(where), len(frames))
        if 0 < len(frames) < len(made):
            log.warning(
                "%s: %d of %d images are left out, no pose is known at their times",
                where, len(made) - len(frames), len(made),
            )  # fmt: skip
        return frames


def frame_range(text: str) -> slice:
    """FIRST-END as a slice. Raises InvalidRequest for anything else."""
    found = re.fullmatch(r"(\d+)-(\d+)", str(text))
    if not found or int(found[1]) >= int(found[2]):
        raise InvalidRequest(f"frames={text}: FIRST-END is expected, as in frames=180-240")
    return slice(int(found[1]), int(found[2]))


def in_time(sequence: Sequence, camera: str | None = None) -> list[Frame]:
    """Frames of one camera, or of all, in time order; where no times are known, in that of the files' names.

    Raises InvalidRequest for a camera that is not in it.
    """
    frames = [frame for frame in sequence.frames if camera in (None, frame.camera_name)]
    if not frames:
        names = ", ".join(sequence.camera_names)
        raise InvalidRequest(f"{sequence.path}: no camera {camera!r} in it, but {names}")
    return sorted(frames, key=(lambda frame: frame.stamp) if sequence.timed else (lambda frame: natural(frame.name)))


def by_stem(folder: Place, *suffixes: str) -> dict[str, Place]:
    """Files by their names without suffix (one of `suffixes`), NAME_2 before NAME_10; none where there is no folder."""
    found = {}
    for file in sorted(folder.iterdir(), key=lambda file: natural(file.name)) if folder.is_dir() else ():
        for suffix in suffixes:
            if file.name.endswith(suffix):
                found[file.name.removesuffix(suffix)] = file
    return found


class Files(dict[str, Place]):
    """The files of one frame by what they are. Raises InvalidRequest for one that is missing."""

    def __init__(self, name: str, parts: dict[str, dict[str, Place]], where: str) -> None:
        super().__init__({part: files[name] for part, files in parts.items() if name in files})
        self.name, self.where = name, where

    def __missing__(self, part: str) -> Place:
        raise InvalidRequest(f"{self.where}; {part} of {self.name} is missing")


def together(where: Path, needed: dict[str, dict[str, Place]], extra: dict[str, dict[str, Place]]) -> list[Files]:
    """The files of each frame, NAME_2 before NAME_10.

    needed: files by name of images, poses, ...; extra: of what may be missing altogether.
    Raises InvalidRequest where there are none at all of something needed.
    """
    parts = needed | {part: files for part, files in extra.items() if files}
    counts = f"{where}: {', '.join(f'{len(files)} {part}' for part, files in parts.items())}"
    for part, files in needed.items():
        if not files:
            raise InvalidRequest(f"{counts}; {part} of every frame is expected")
    return [Files(name, parts, counts) for name in sorted(set().union(*needed.values()), key=natural)]


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
