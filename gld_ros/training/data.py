"""Batches for training: numbered, so that a resumed run and any number of processes go through the same ones."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from gld_ros.data.clips import ClipBatch
from gld_ros.data.raytrace import render
from gld_ros.data.room_views import render_scenes
from gld_ros.data.rooms import TEST_SEED
from gld_ros.errors import InvalidRequest
from gld_ros.training.config import TrainConfig

#: The line of `data` for fresh procedural rooms of two sources and two targets, and the first room's number.
ROOMS = "fresh-rooms:"


class NumberedBatches(IterableDataset):
    """make(n) for n = first, first + stride, ..., dealt out to the loader's workers in turn."""

    def __init__(self, make: Callable[[int], Any], first: int, stride: int):
        self.make, self.first, self.stride = make, first, stride

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, stride = self.first, self.stride
        if worker is not None:
            number, stride = number + worker.id * stride, stride * worker.num_workers
        while True:
            yield self.make(number)
            number += stride


class Numbered:
    """TrainingData of batches made by number. make(n) must depend on n alone; with workers it is sent to them."""

    def __init__(self, make: Callable[[int], Any], workers: int = 0):
        self.make, self.workers = make, workers

    def batches(self, position: int, rank: int = 0, processes: int = 1) -> Iterator[Any]:
        source = NumberedBatches(self.make, position * processes + rank, processes)
        if not self.workers:
            return iter(source)
        return iter(
            DataLoader(
                source,
                batch_size=None,
                num_workers=self.workers,
                prefetch_factor=4,
                multiprocessing_context="spawn",
                worker_init_fn=quiet_worker,
            )
        )


class Rooms:
    """Batch n holds the rooms first + n * scenes ...; sizes take turns, the first every second time.

    Two sources, a target between them, one beyond.
    """

    def __init__(self, scenes: int, sizes: Sequence[tuple[int, int]], first: int = 0, compiled: bool = True):
        self.scenes, self.sizes, self.first, self.compiled = scenes, tuple(sizes), first, compiled
        self._renderer: Callable | None = None

    def __call__(self, number: int) -> ClipBatch:
        if self._renderer is None:
            # Fused, the ray tracer is tens of times faster on a CPU; every image size is compiled once.
            self._renderer = torch.compile(render, dynamic=False) if self.compiled else render
        seeds = [(self.first + number * self.scenes + i) % TEST_SEED for i in range(self.scenes)]
        main, *others = self.sizes
        size = others[(number // 2) % len(others)] if number % 2 and others else main
        rooms = render_scenes(seeds, *size, renderer=self._renderer)
        return ClipBatch(rooms.images, rooms.K, rooms.c2w, rooms.depth, [f"room-{s}" for s in seeds], sources=2)


def quiet_worker(_: int) -> None:
    """One thread a worker; what interrupts the training is for the training process to answer."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def open_data(config: TrainConfig) -> Numbered:
    """What a configuration trains on."""
    if list(config.data) == [ROOMS]:
        if config.views != 4:
            raise InvalidRequest(f"views is {config.views}: {ROOMS} has 4, two sources and two targets")
        return Numbered(Rooms(config.batch, config.sizes), config.workers)
    raise InvalidRequest(f"data is {config.data}")
