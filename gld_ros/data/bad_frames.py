# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that cannot be used, such as a truncated image or a pose of NaN: an error, or left out by name if so asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from gld_ros.data.sequence import Frame, Sequence
from gld_ros.errors import InvalidRequest

log = logging.getLogger(__name__)


class BadFrames:
    """Those of one sequence while it is read; skip: leave them out.

    bad = BadFrames(skip)
    for entry in entries:
        with bad.caught():
            frames.append(read(entry))
    bad.settle(where, len(frames))
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self.reasons: list[str] = []

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take down what one frame raises."""
        try:
            yield
        except InvalidRequest as error:
            self.reasons.append(str(error))

    def settle(self, where: str, good: int) -> None:
        """Name the bad frames of a sequence that has `good` others.

        Raises InvalidRequest where they are not to be skipped, or all are bad: then something else is wrong.
        """
        if not self.reasons:
            return
        count = f"{len(self.reasons)} of {len(self.reasons) + good} frames"
        if not good:
            raise InvalidRequest(self.reasons[0])
        if not self.skip:
            raise InvalidRequest(f"{self.reasons[0]}; {count} are bad, {Frame.ADVICE}")
        for reason in self.reasons:
            log.warning("skipped a frame: %s", reason)
        log.warning("%s: %s are bad and were skipped", where, count)


def usable(sequence: Sequence, skip: bool) -> Sequence:
    """The sequence without the frames whose pixels cannot be read, which are all looked at if `skip`."""
    if not skip:
        return replace(sequence, frames=[replace(frame, skippable=True) for frame in sequence.frames])
    bad, frames = BadFrames(skip), []
    for frame in sequence.frames:
        with bad.caught():
            frame.view()
            frames.append(frame)
    bad.settle(str(sequence.path), len(frames))
    return replace(sequence, frames=frames)
