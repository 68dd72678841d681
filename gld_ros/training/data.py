# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Batches for training: numbered, so that a resumed run and any number of processes go through the same ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from gld_ros.data.clips import ClipBatch
from gld_ros.data.mixture import Mixture, open_mixture
from gld_ros.data.raytrace import compiled_render, render
from gld_ros.data.room_views import render_scenes
from gld_ros.data.rooms import TEST_SEED
from gld_ros.data.scenes import Skipped
from gld_ros.training.config import DIFFUSION, TrainConfig


class NumberedBatches(IterableDataset):
    """make(n) for n = first, first + stride, ..., dealt out to the loader's workers in turn."""

    def __init__(self, make: Callable[[int], Any], first: int, stride: int):
        self.make, self.first, self.stride = make, first, stride

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        which, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        return map(self.make, count(self.first + which * self.stride, workers * self.stride))


class Numbered:
    """TrainingData of batches made by number. make(n) must depend on n alone; with workers it is sent to them."""

    def __init__(self, make: Callable[[int], Any], workers: int = 0):
        self.make, self.workers = make, workers

    def batches(self, position: int, rank: int = 0, processes: int = 1) -> Iterator[Any]:
        source = NumberedBatches(self.make, position * processes + rank, processes)
        if not self.workers:
            return iter(source)
        loader: DataLoader = DataLoader(
            source,
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4,
            multiprocessing_context="spawn",
            worker_init_fn=quiet_worker,
        )
        return iter(loader)


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
            self._renderer = compiled_render() if self.compiled else render
        seeds = [(self.first + number * self.scenes + i) % TEST_SEED for i in range(self.scenes)]
        main, *others = self.sizes
        size = others[(number // 2) % len(others)] if number % 2 and others else main
        rooms = render_scenes(seeds, *size, renderer=self._renderer)
        return ClipBatch(rooms.images, rooms.K, rooms.c2w, rooms.depth, [f"room-{s}" for s in seeds])


class Mixed:
    """TrainingData of a configuration's data sets. skipped: a file that all processes note bad scenes in."""

    def __init__(self, config: TrainConfig, skipped: Path | None = None):
        self.config, self.skipped = config, skipped
        self._mixture(1)  # what cannot be opened is found now

    def batches(self, position: int, rank: int = 0, processes: int = 1) -> Iterator[ClipBatch]:
        make = self._mixture(processes).batch_at
        return Numbered(make, self.config.workers).batches(position, rank, processes)

    def _mixture(self, processes: int) -> Mixture:
        config = self.config
        sources = config.flow.sources if config.stage in DIFFUSION else (1, 1)
        options = {"sizes": config.sizes, "batch": config.batch, "seed": config.seed, "world": processes}
        return open_mixture(config.data, config.views, sources, skipped=Skipped(self.skipped), **options)


def quiet_worker(_: int) -> None:
    """One thread a worker; what interrupts the training is for the training process to answer.

    A SIGTERM may be meant for all processes, so the worker goes on; the next one, of the loader that shuts down, ends
    it.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, lambda *_: os._exit(0)))
