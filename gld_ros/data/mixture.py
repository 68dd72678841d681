# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Endless training clips out of several data sets: weighted, repeatable, sharded, resumable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from gld_ros.data.checks import check_poses
from gld_ros.data.clips import Clip, ClipBatch, collate
from gld_ros.data.framing import RELEASED_SIZES
from gld_ros.data.sampling import ViewSampling
from gld_ros.data.scenes import Scenes, Skipped, open_scenes, parse
from gld_ros.errors import InvalidRequest

ATTEMPTS = 50  # bad scenes in a row before a mixture gives up
CHECKED_VIEWS = 3  # neighbours in time whose poses are compared with their images
_BATCH, _CLIP = 1, 2  # streams of random numbers of one seed


@dataclass(frozen=True)
class Part:
    """One data set of a mixture. weight: its share of the clips, against the sum of all weights."""

    scenes: Scenes
    weight: float = 1.0
    sampling: ViewSampling = field(default_factory=ViewSampling)


class Mixture(IterableDataset[Clip]):
    """Clips of `parts`; what clip a position holds depends on nothing but the arguments.

    Every batch has one size of `sizes` (width, height) and one number of sources, on all ranks. Rank r of `world` gets
    clips r * batch .. of every `world * batch`; the workers of a DataLoader share them so that its batches come in the
    same order for any number of them: use `loader`, or a DataLoader with `batch_size=batch`.

    batch: clips a rank and batch. position: batches of a rank that were seen already, to resume there.
    pose_check: compare poses with images (`conventions`; some 0.3 s a clip), and skip those of another convention.
    Bad scenes are replaced by others and noted in `skipped`. Raises InvalidRequest for no or useless weights and, while
    iterating, where `ATTEMPTS` scenes in a row are bad.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        sizes: Sequence[tuple[int, int]] = RELEASED_SIZES,
        batch: int = 1,
        seed: int = 0,
        position: int = 0,
        rank: int = 0,
        world: int = 1,
        pose_check: bool = False,
        skipped: Skipped | None = None,
    ) -> None:
        weights = np.array([part.weight for part in parts], dtype=np.float64)
        if not len(parts) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() == 0:
            raise InvalidRequest(
                f"a mixture of weights {weights.tolist()}: at least one above 0 is expected, none below"
            )
        views = {part.sampling.views for part in parts}
        sources = {part.sampling.sources for part in parts}
        if len(views) > 1 or len(sources) > 1:
            raise InvalidRequest(
                f"parts of {sorted(views)} views and {sorted(sources)} sources: one batch has one number of each"
            )
        if batch < 1 or not 0 <= rank < world or not sizes:
            raise InvalidRequest(f"batch {batch}, rank {rank} of {world}, {len(sizes)} sizes: not possible")
        self.parts, self.sizes, self.batch, self.seed = list(parts), [(w, h) for w, h in sizes], batch, seed
        self.position, self.rank, self.world = position, rank, world
        self.pose_check = pose_check
        self.skipped = Skipped() if skipped is None else skipped
        self._shares = weights / weights.sum()

    def clip(self, number: int) -> Clip:
        """The clip at a position of the stream that all ranks share."""
        step = number // (self.batch * self.world)
        rng = np.random.default_rng([self.seed, _BATCH, step])
        size = self.sizes[rng.integers(len(self.sizes))]
        sources = self.parts[0].sampling.draw_sources(rng)
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([self.seed, _CLIP, number, attempt])
            part = self.parts[rng.choice(len(self.parts), p=self._shares)]
            index = int(rng.integers(len(part.scenes)))
            try:
                views, _ = part.sampling.draw(part.scenes.frames(index), rng, sources)
                clip = part.scenes.load(index, views, size)
                if self.pose_check:
                    check_poses(clip.views(np.argsort(views)[:CHECKED_VIEWS].tolist()))
            except InvalidRequest as error:
                reason = str(error)
                self.skipped.add(part.scenes.names[index], reason)
                continue
            clip.sources = sources
            return clip
        raise InvalidRequest(f"{ATTEMPTS} bad scenes in a row; the last: {reason}")

    def batch_at(self, number: int) -> ClipBatch:
        """Batch `step * world + rank`: that of a rank at a step."""
        return collate([self.clip(number * self.batch + k) for k in range(self.batch)])

    def __iter__(self) -> Iterator[Clip]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in count(self.position + first, stride):
            number = step * self.world + self.rank
            for k in range(self.batch):
                yield self.clip(number * self.batch + k)

    def loader(self, workers: int = 0, **options: Any) -> DataLoader:
        """A loader of ClipBatches, made by so many processes."""
        return DataLoader(self, batch_size=self.batch, collate_fn=collate, num_workers=workers, **options)


def open_mixture(
    lines: Mapping[str, float], views: int = 8, sources: tuple[int, int] = (1, 4), **options: Any
) -> Mixture:
    """A mixture of data sets, each a line for `open_scenes` with its weight; `options` are arguments of `Mixture`.

    A line may hold fields of ViewSampling too: `re10k:/data/train?max_interval=40`, `rosbag2:/logs?motion=[0.1,0.5]`.
    Raises InvalidRequest for what `open_scenes`, ViewSampling and Mixture refuse.
    """
    parts = []
    for line, weight in lines.items():
        place, settings = parse(line)
        sampling: dict[str, Any] = {"views": views, "sources": tuple(sources)}
        for name in [name for name in settings if name in ViewSampling.__dataclass_fields__]:
            value = settings.pop(name)
            sampling[name] = tuple(value) if isinstance(value, list) else value
        parts.append(Part(open_scenes(place, **settings), weight, ViewSampling(**sampling)))
    return Mixture(parts, **options)
