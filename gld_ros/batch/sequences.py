# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The sequences of an archive: found by paths, globs, lists of them and data sets, read by workers one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from glob import glob, has_magic
from pathlib import Path

from gld_ros.data.formats.sequences import SequenceScenes
from gld_ros.data.reading import read_text
from gld_ros.data.scenes import Scenes, Subset, open_scenes
from gld_ros.data.sequence import Sequence
from gld_ros.errors import InvalidRequest


@dataclass(frozen=True)
class Item:
    """One sequence: scene number `index` of the data that the line `data` opens. name: its folder below the output."""

    name: str
    data: str
    index: int

    def read(self) -> Sequence:
        """Open it, its pixels not yet loaded. Raises InvalidRequest naming the file and what is wrong."""
        scenes, index = _opened(self.data), self.index
        while isinstance(scenes, Subset):
            index = scenes.indices[index]
            scenes = scenes.scenes
        if isinstance(scenes, SequenceScenes):
            return replace(scenes.sequence(scenes.paths[index]), name=self.name)
        return Sequence(self.name, Path(self.data), scenes.frames(index))


@dataclass(frozen=True)
class Found:
    """The sequences of an archive in order, and the lines that could not be opened, with reasons."""

    items: list[Item]
    failed: dict[str, str]


def find_sequences(lines: Iterable[str]) -> Found:
    """The sequences of paths, globs, `KIND:PATH?OPTION=VALUE` and `@FILE` (a list of such lines); each once.

    A name is the last part of the path, or as many of its last parts as tell it from the others. Raises InvalidRequest
    for a list that cannot be read, two sequences that no part of a path tells apart, and no sequence at all.
    """
    found: dict[tuple[str, int], str] = {}
    failed: dict[str, str] = {}
    for line in dict.fromkeys(_spread(lines)):
        try:
            scenes = _opened(line)
        except InvalidRequest as error:
            failed[line] = str(error)
            continue
        # One sequence is named by its path; those below a folder are by theirs within it.
        alone = Path(line.partition("?")[0]).resolve().as_posix() if len(scenes) == 1 else ""
        for index, name in enumerate(scenes.names):
            found[line, index] = f"{alone.removesuffix(f'/{name}')}/{name}" if alone else name
    if not found:
        reasons = "; ".join(failed.values())
        raise InvalidRequest(f"no sequence to make views of{': ' + reasons if reasons else ''}")
    names = _short(list(found.values()))
    return Found([Item(name, *key) for name, key in zip(names, found, strict=True)], failed)


def _spread(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("@"):
            listed = (text.strip() for text in read_text(Path(line[1:])).splitlines())
            yield from _spread(text for text in listed if text and not text.startswith("#"))
        elif has_magic(line.partition("?")[0] if ":" in line else line) and not Path(line).exists():
            yield from sorted(glob(line, recursive=True)) or [line]
        else:
            yield line


def _short(paths: list[str]) -> list[str]:
    """Their last parts, as many as tell each from all others."""
    parts = [[part for part in path.split("/") if part] for path in paths]
    lengths = [1] * len(parts)
    while True:
        names = ["/".join(part[-length:]) for part, length in zip(parts, lengths, strict=True)]
        twice = {name for name, count in Counter(names).items() if count > 1}
        if not twice:
            return names
        if any(name in twice and length >= len(part) for name, part, length in zip(names, parts, lengths, strict=True)):
            raise InvalidRequest(f"two sequences are named {min(twice)}; give one of their folders another name")
        lengths = [length + (name in twice) for name, length in zip(names, lengths, strict=True)]


@lru_cache(maxsize=64)
def _opened(line: str) -> Scenes:
    return open_scenes(line)
