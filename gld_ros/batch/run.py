# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A run of `gld batch`: what is left to do, who does it, the summary."""

from __future__ import annotations

import fcntl
import glob
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gld_ros.batch.maker import MANIFEST, Made
from gld_ros.batch.sequences import Item, find_sequences
from gld_ros.batch.settings import BatchSettings, differences, provenance
from gld_ros.batch.workers import gpus_there, make_all, ray_instance, workers
from gld_ros.errors import FileError, InvalidRequest
from gld_ros.extras import require
from gld_ros.files import write_text

RUN, SUMMARY, LOCK = "batch.json", "summary.json", ".lock"


@dataclass
class Summary:
    """made, before: sequences of this run and of earlier ones. failed: reasons by name. refused: requests.

    seconds: from when all workers had loaded the model; cpu: of the workers in that time.
    """

    sequences: int
    made: int = 0
    before: int = 0
    views: int = 0
    refused: int = 0
    workers: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    interrupted: bool = False
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, made: Made) -> None:
        """Count what became of a sequence."""
        if made.error is not None:
            self.failed[made.name] = made.error
            return
        self.made += 1
        self.views += made.views
        self.refused += made.refused
        self.cpu += made.cpu


def run_batch(
    data: Iterable[str], settings: BatchSettings, watch: Callable[[Summary], None] = lambda summary: None
) -> Summary:
    """Make the views of all sequences that `settings.out` has none of yet. watch: called after every sequence.

    Ctrl-C ends it; the same call goes on. Raises InvalidRequest for data or settings that cannot be, and for a folder
    that other settings, model or versions were used for; ModelError; FileError.
    """
    require("batch", "gld batch")
    found = find_sequences(data)
    summary = Summary(len(found.items) + len(found.failed), failed=dict(found.failed))
    with _locked(settings.out):
        try:
            with ray_instance(settings.address):
                if settings.gpus is None:
                    settings = settings.model_copy(update={"gpus": 1.0 if gpus_there() else 0.0})
                origin = provenance(settings)
                _begin(settings.out, origin)
                waiting = _waiting(found.items, settings.out, summary)
                watch(summary)
                if waiting:
                    _make(waiting, settings, origin, summary, watch)
        except KeyboardInterrupt:
            summary.interrupted = True
        for item in found.items:
            _clean(settings.out / item.name)
        write_text(settings.out / SUMMARY, json.dumps(asdict(summary), indent=1) + "\n")
    return summary


def _make(
    items: list[Item],
    settings: BatchSettings,
    origin: dict[str, Any],
    summary: Summary,
    watch: Callable[[Summary], None],
) -> None:
    with workers(settings, origin) as ready:
        summary.workers = len(ready)
        started = time.perf_counter()
        for made in make_all(ready, items):
            summary.add(made)
            summary.seconds = time.perf_counter() - started
            watch(summary)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Nobody else works in the folder meanwhile. Raises InvalidRequest where somebody does, FileError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("w")
    except OSError as error:
        raise FileError(f"{out}: cannot be written: {error}") from None
    with lock:  # the kernel gives the lock back when this process ends, however it ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidRequest(f"{out}: another gld batch is at work in it") from None
        yield


def _begin(out: Path, origin: dict[str, Any]) -> None:
    """Write down what the run is made with. Raises InvalidRequest where an earlier start used something else."""
    file = out / RUN
    if file.exists():
        try:
            earlier = json.loads(file.read_text())
        except ValueError as error:
            raise FileError(f"{file}: not readable ({error})") from None
        if differing := differences(origin, earlier):
            raise InvalidRequest(f"{out}: was begun with something else: {differing}; another --out is expected")
    write_text(file, json.dumps(origin, indent=1) + "\n")


def _waiting(items: list[Item], out: Path, summary: Summary) -> list[Item]:
    """The sequences that have no views yet. One whose folder holds those of other data has failed."""
    waiting = []
    for item in items:
        folder = out / item.name
        _clean(folder)
        if not (folder / MANIFEST).exists():
            waiting.append(item)
            continue
        made_of = json.loads((folder / MANIFEST).read_text())
        if (made_of["data"], made_of["index"]) == (item.data, item.index):
            summary.before += 1
        else:
            summary.failed[item.name] = f"{folder} holds views of {made_of['data']}; another --out is expected"
    return waiting


def _clean(folder: Path) -> None:
    """Remove what workers that were killed left half done beside a folder (`files.NewFolder`)."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        if left.suffix[1:].isdigit():
            shutil.rmtree(left, ignore_errors=True)
