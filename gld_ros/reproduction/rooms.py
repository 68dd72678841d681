# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The rooms of a reproduction: rendered once, kept on disk, the same for every variant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from gld_ros.data.clips import ClipBatch
from gld_ros.data.raytrace import compiled_render, render
from gld_ros.data.room_views import render_scenes
from gld_ros.weights.tensor_files import write_tensors

CHUNK = 64  # rooms a file
SOURCES = 2  # of the four views of a room; the others are targets


class StoredRooms:
    """Rooms of seeds first .. first + count - 1, rendered into `folder` as far as they are not there."""

    def __init__(self, folder: Path, first: int, count: int, size: int, on_rooms: Callable[[int], None]):
        self.first, self.count = first, count
        folder.mkdir(parents=True, exist_ok=True)
        # Compiling the ray tracer costs a minute, and saves more from some thousand rooms on.
        renderer = compiled_render() if count > 64 * CHUNK else render
        parts = []
        for start in range(first, first + count, CHUNK):
            path = folder / f"rooms-{size}-{start}.safetensors"
            if not path.exists():
                # Always whole chunks: the compiled tracer is made for one shape.
                rooms = render_scenes(list(range(start, start + min(CHUNK, count))), size, size, renderer=renderer)
                images = (rooms.images * 255).round().byte()
                arrays = {"images": images, "depth": rooms.depth, "K": rooms.K, "c2w": rooms.c2w}
                write_tensors(path, {k: v.contiguous() for k, v in arrays.items()})
            parts.append(load_file(path))
            on_rooms(min(CHUNK, count))
        self.arrays: dict[str, Tensor] = {k: torch.cat([part[k] for part in parts])[:count] for k in parts[0]}

    def batch(self, indices: list[int]) -> ClipBatch:
        """The rooms of these places, two sources and two targets each."""
        chosen = {k: v[indices] for k, v in self.arrays.items()}
        names = [f"room-{self.first + i}" for i in indices]
        images = chosen["images"].float() / 255
        return ClipBatch(images, chosen["K"], chosen["c2w"], chosen["depth"], names, sources=SOURCES)


class Stream:
    """TrainingData: batches of shuffled rooms, epoch by epoch; `on_batch` is called for each that is asked for."""

    def __init__(self, rooms: StoredRooms, batch: int, seed: int, on_batch: Callable[[], None] = lambda: None):
        self.rooms, self.size, self.seed, self.on_batch = rooms, batch, seed, on_batch

    def batches(self, position: int, rank: int = 0, processes: int = 1) -> Iterator[ClipBatch]:
        number = position * processes + rank
        while True:
            self.on_batch()
            places = range(number * self.size, (number + 1) * self.size)
            orders = {epoch: self._order(epoch) for epoch in {place // self.rooms.count for place in places}}
            yield self.rooms.batch([orders[place // self.rooms.count][place % self.rooms.count] for place in places])
            number += processes

    def _order(self, epoch: int) -> list[int]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.rooms.count).tolist()
