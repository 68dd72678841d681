# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs images with their CameraInfo by stamp; unlike message_filters it survives a clock that jumps back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

JUMP_BACK = 1_000_000_000  # ns; less is a late message, more is a new time line


class StampPairing:
    """Bounded pairing of two streams, "image" and "info", whose stamps (ns) are equal up to `slop` ns.

    on_drop(kind): called for every message that leaves unpaired. on_jump(): called when stamps jump back by more than
    a second, after everything held was dropped.
    """

    def __init__(
        self,
        capacity: int,
        slop: int = 0,
        on_drop: Callable[[str], None] = lambda kind: None,
        on_jump: Callable[[], None] = lambda: None,
    ) -> None:
        self.capacity = capacity
        self.slop = slop
        self._on_drop = on_drop
        self._on_jump = on_jump
        self._waiting: dict[str, OrderedDict[int, Any]] = {"image": OrderedDict(), "info": OrderedDict()}
        self._newest: int | None = None

    def add(self, kind: str, stamp: int, message: Any) -> tuple[Any, Any] | None:
        """Take a message of `kind`; returns the pair (image, info) it completes, or None."""
        if self._newest is not None and stamp < self._newest - JUMP_BACK:
            self.clear()
            self._on_jump()
        self._newest = stamp if self._newest is None else max(stamp, self._newest)
        mine, others = self._waiting[kind], self._waiting["info" if kind == "image" else "image"]
        match = min(others, key=lambda other: abs(other - stamp), default=None)
        if match is not None and abs(match - stamp) <= self.slop:
            partner = others.pop(match)
            return (message, partner) if kind == "image" else (partner, message)
        if stamp in mine:
            self._on_drop(kind)
        mine[stamp] = message
        while len(mine) > self.capacity:
            mine.popitem(last=False)
            self._on_drop(kind)
        return None

    def clear(self) -> None:
        """Drop everything held and forget the newest stamp."""
        self._newest = None
        for kind, waiting in self._waiting.items():
            for _ in waiting:
                self._on_drop(kind)
            waiting.clear()
