# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What was made of the sources of recent requests: a robot that stands still asks again with the same ones."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gld_ros.views import SourceView


class Recent:
    """Keeps what was made for the last few keys; the longest unused is dropped first.

    Keys are (fingerprint, settings): encoders look at all sources together, hence a set of them is the smallest thing
    that can be kept.
    """

    def __init__(self, capacity: int = 4) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[tuple[bytes, Any], Any] = OrderedDict()

    def get(self, key: tuple[bytes, Any], make: Callable[[], Any]) -> Any:
        """What `make` returned for this key; called now, if need be. Raises what `make` raises."""
        if key not in self._kept:
            while len(self._kept) >= self._capacity:  # before: the device may not hold one more
                self._kept.popitem(last=False)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        return self._kept[key]

    def newest(self, sources: bytes) -> Any | None:
        """What was used last of the sources with this fingerprint."""
        return next((made for key, made in reversed(self._kept.items()) if key[0] == sources), None)

    def __contains__(self, key: tuple[bytes, Any]) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        self._kept.clear()


def fingerprint(sources: Sequence[SourceView]) -> bytes:
    """Digest of the pixels, cameras and depths of sources, whatever object holds them; their stamps do not count."""
    digest = hashlib.sha256()  # 1.5 ms for 1280x720
    for source in sources:
        camera, depth = source.camera, source.depth
        digest.update(repr((camera.width, camera.height, depth is None)).encode())
        for array in (camera.K, camera.c2w, source.image, *([] if depth is None else [depth])):
            digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
