"""Endless batches of fresh procedural rooms, rendered in a process of their own."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, IterableDataset

from gld_ros.data.raytrace import render
from gld_ros.data.room_views import BUCKETS, RoomViews, render_scenes
from gld_ros.data.rooms import TEST_SEED


class RoomStream(IterableDataset):
    """Batch `k` holds scenes `first_seed + k * batch ...`: a resumed run sees the rooms an uninterrupted one would."""

    def __init__(self, batch: int, start: int = 0, first_seed: int = 0, compiled: bool = True):
        self.batch, self.start, self.first_seed, self.compiled = batch, start, first_seed, compiled

    def __iter__(self) -> Iterator[RoomViews]:
        torch.set_num_threads(1)
        # Fused, the ray tracer is tens of times faster on a CPU; every image size is compiled once.
        renderer = torch.compile(render, dynamic=False) if self.compiled else render
        k = self.start
        while True:
            seeds = [(self.first_seed + k * self.batch + i) % TEST_SEED for i in range(self.batch)]
            # 4:3 half of the time, the other aspects in turn.
            bucket = BUCKETS[0] if k % 2 == 0 else BUCKETS[1 + (k // 2) % 3]
            yield render_scenes(seeds, *bucket, renderer=renderer)
            k += 1


def room_batches(batch: int, start: int = 0, first_seed: int = 0, compiled: bool = True) -> Iterator[RoomViews]:
    """Batches from one background process, a few ahead."""
    stream = RoomStream(batch, start, first_seed, compiled)
    return iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4, multiprocessing_context="spawn"))
