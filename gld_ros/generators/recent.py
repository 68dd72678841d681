# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What was made of the sources of recent requests: a robot that stands still asks again with the same ones."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from gld_ros.views import SourceView

Made = TypeVar("Made")


class RecentSources(Generic[Made]):
    """Keeps what `make` gave for the last few sets of sources, the longest unused is dropped first.

    Encoders look at all sources together, hence a set is the smallest thing that can be kept. Sources are the same when
    their pixels, cameras and depths are, whatever object holds them.
    """

    def __init__(self, capacity: int = 4) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[bytes, Made] = OrderedDict()

    def get(self, sources: Sequence[SourceView], settings: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What these sources gave with these settings; made now, if need be. Raises what `make` raises."""
        key = fingerprint(sources, settings)
        if key not in self._kept:
            while len(self._kept) >= self._capacity:  # before: the device may not hold one more
                self._kept.popitem(last=False)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        return self._kept[key]

    def holds(self, sources: Sequence[SourceView], settings: tuple[Any, ...]) -> bool:
        """Whether these sources with these settings would be answered at once."""
        return bool(self._kept) and fingerprint(sources, settings) in self._kept

    @property
    def newest(self) -> Made | None:
        """What was used last."""
        return next(reversed(self._kept.values()), None)

    def clear(self) -> None:
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


def fingerprint(sources: Sequence[SourceView], settings: tuple[Any, ...]) -> bytes:
    """Of all that decides what is made of sources (their stamps do not) with such settings (that print as they are)."""
    found = hashlib.sha256(repr(settings).encode())  # 1.5 ms for 1280x720
    for source in sources:
        camera, depth = source.camera, source.depth
        found.update(repr((camera.width, camera.height, depth is None)).encode())
        for array in (camera.K, camera.c2w, source.image, *([] if depth is None else [depth])):
            found.update(np.ascontiguousarray(array).data)
    return found.digest()
