# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The rooms of a reproduction: rendered once, kept on disk, the same for every variant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import trange

from gld_ros.data.clips import ClipBatch
from gld_ros.data.raytrace import compiled_render, render
from gld_ros.data.room_views import render_scenes
from gld_ros.weights.tensor_files import read_tensors, write_tensors

CHUNK = 64  # rooms that are rendered together
SOURCES = 2  # of the four views of a room; the others are targets


class StoredRooms:
    """Rooms of seeds first .. first + count - 1, rendered into `folder` where they are not there."""

    def __init__(self, folder: Path, first: int, count: int, size: int):
        self.first, self.count = first, count
        path = folder / f"rooms-{size}-{first}-{count}.safetensors"
        if not path.exists():
            write_tensors(path, rendered(first, count, size))
        self.arrays = read_tensors(path)

    def batch(self, indices: list[int]) -> ClipBatch:
        """The rooms of these places, two sources and two targets each."""
        chosen = {k: v[indices] for k, v in self.arrays.items()}
        names = [f"room-{self.first + i}" for i in indices]
        images = chosen["images"].float() / 255
        return ClipBatch(images, chosen["K"], chosen["c2w"], chosen["depth"], names, sources=SOURCES)


def rendered(first: int, count: int, size: int) -> dict[str, Tensor]:
    """Arrays of all rooms: images (N, 4, 3, H, W) uint8, depth, K, c2w."""
    # Compiling the ray tracer costs a minute, and saves more from some thousand rooms on.
    renderer = compiled_render() if count > 64 * CHUNK else render
    chunks = []
    for start in trange(first, first + count, min(CHUNK, count), desc="rooms", disable=None):
        # Always whole chunks: the compiled tracer is made for one shape.
        rooms = render_scenes(list(range(start, start + min(CHUNK, count))), size, size, renderer=renderer)
        images = (rooms.images * 255).round().byte()
        chunks.append({"images": images, "depth": rooms.depth, "K": rooms.K, "c2w": rooms.c2w})
    return {name: torch.cat([chunk[name] for chunk in chunks])[:count].contiguous() for name in chunks[0]}


class Stream:
    """TrainingData: batches of shuffled rooms, epoch by epoch."""

    def __init__(self, rooms: StoredRooms, batch: int, seed: int):
        self.rooms, self.size, self.seed = rooms, batch, seed

    def batches(self, position: int, rank: int = 0, processes: int = 1) -> Iterator[ClipBatch]:
        number = position * processes + rank
        while True:
            places = range(number * self.size, (number + 1) * self.size)
            orders = {epoch: self._order(epoch) for epoch in {place // self.rooms.count for place in places}}
            yield self.rooms.batch([orders[place // self.rooms.count][place % self.rooms.count] for place in places])
            number += processes

    def _order(self, epoch: int) -> list[int]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.rooms.count).tolist()
