# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs images with their CameraInfo by stamp; unlike message_filters it survives a clock that jumps back."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, Literal

JUMP_BACK = 1_000_000_000  # ns; less is a late message, more is a new time line
CONFIRMED = 10  # messages after a leap ahead that say that time went on there
Step = Literal["on", "back", "returned"]
ALONE = 3  # images without a partner, one after the other, that are worth a word


class TimeLine:
    """Tells a clock that jumps back (a bag starts again) from one message that is stamped with the future."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._before: int | None = None  # the newest stamp before a leap ahead
        self._after = 0  # messages since that leap

    def follow(self, stamp: int) -> Step:
        """Take the stamp (ns) of a message: time goes "on", starts again further "back", or has "returned" from a stamp
        of the future."""
        newest, before = self._newest, self._before
        if newest is not None and stamp < newest - JUMP_BACK:
            returned = before is not None and stamp >= before - JUMP_BACK
            self._newest = max(stamp, before) if before is not None and returned else stamp
            self._before = None
            return "returned" if returned else "back"
        if newest is not None:
            if before is None and stamp > newest + JUMP_BACK:
                self._before, self._after = newest, 0
            self._after += 1
            if self._after > CONFIRMED:
                self._before = None
        self._newest = max(stamp, newest or stamp)
        return "on"


class StampPairing:
    """Bounded pairing of two streams, "image" and "info", whose stamps (ns) are equal up to `slop` ns.

    latched: the publishers of CameraInfo latch it, so that it may have been sent once: where infos come more rarely
    than images, every image takes the newest one. on_drop(kind): called for every message that leaves unpaired.
    on_jump(): called when stamps jump back, after everything held was dropped. on_return(stamp): called with the first
    one after some of the future. on_apart(image, info): called with the nearest two stamps where both streams come, but
    never of one stamp.
    """

    def __init__(
        self,
        capacity: int,
        slop: int = 0,
        on_drop: Callable[[str], None] = lambda kind: None,
        on_jump: Callable[[], None] = lambda: None,
        on_apart: Callable[[int, int], None] = lambda image, info: None,
        on_return: Callable[[int], None] = lambda stamp: None,
    ) -> None:
        self.capacity, self.slop, self.latched = capacity, slop, False
        self._on_drop, self._on_jump, self._on_apart, self._on_return = on_drop, on_jump, on_apart, on_return
        self._waiting: dict[str, OrderedDict[int, Any]] = {"image": OrderedDict(), "info": OrderedDict()}
        self._time = TimeLine()
        self._alone: Counter[str] = Counter()  # messages since the last pair
        self._held: tuple[int, Any] | None = None  # the newest CameraInfo, if it is latched
        self._since = 0  # images since that
        self._between: int | None = None  # images between that and the one before; None where there was none

    def add(self, kind: str, stamp: int, message: Any) -> list[tuple[Any, Any]]:
        """Take a message of `kind`; returns the pairs (image, info) it completes: several where a latched CameraInfo
        comes after its images."""
        latched_info = kind == "info" and self.latched
        if latched_info:
            self._hold(stamp, message)
        elif (step := self._time.follow(stamp)) == "back":  # what is latched may be as old as its publisher
            self.clear()
            self._time.follow(stamp)
            self._on_jump()
        elif step == "returned":
            self._on_return(stamp)
        self._since += kind == "image"
        others = self._waiting["info" if kind == "image" else "image"]
        match = min(others, key=lambda other: abs(other - stamp), default=None)
        if match is not None and abs(match - stamp) <= self.slop:
            partner = others.pop(match)
            pairs = [(message, partner) if kind == "image" else (partner, message)]
        elif self._holds() and kind == "image":
            pairs = [(message, self._held[1])] if self._held else []
        elif self._holds() and latched_info:
            pairs = [(image, message) for image in others.values()]
            others.clear()
            return pairs
        else:
            pairs = []
        if pairs:
            self._alone.clear()
        else:
            self._wait(kind, stamp, message)
        return pairs

    def _wait(self, kind: str, stamp: int, message: Any) -> None:
        mine, others = self._waiting[kind], self._waiting["info" if kind == "image" else "image"]
        if stamp in mine:
            self._on_drop(kind)
        mine[stamp] = message
        while len(mine) > self.capacity:
            mine.popitem(last=False)
            self._on_drop(kind)
        self._alone[kind] += 1
        if kind == "image" and self._alone["image"] % ALONE == 0 and self._alone["info"] and others:
            self._on_apart(*min(((a, b) for a in mine for b in others), key=lambda pair: abs(pair[0] - pair[1])))

    def _hold(self, stamp: int, info: Any) -> None:
        if self._held is None or self._held[0] != stamp:  # else it is the same once more, for a new subscription
            self._between, self._since = None if self._held is None else self._since, 0
        self._held = stamp, info

    def _holds(self) -> bool:
        """True if images take the latched CameraInfo, which they do unless each has one of its own."""
        rare = self._between is None or max(self._between, self._since) > 1
        return self.latched and self._held is not None and rare

    def clear(self) -> None:
        """Drop everything that waits, and forget the time. What is latched still holds: it is not sent again."""
        self._time = TimeLine()
        self._alone.clear()
        for kind, waiting in self._waiting.items():
            for _ in waiting:
                self._on_drop(kind)
            waiting.clear()
