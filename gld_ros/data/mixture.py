# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Endless training clips out of several data sets, by number: weighted, repeatable, shared out, resumable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gld_ros.data.clips import Clip, ClipBatch, collate
from gld_ros.data.framing import RELEASED_SIZES
from gld_ros.data.sampling import ViewSampling
from gld_ros.data.scenes import Scenes, Skipped, open_scenes, parse
from gld_ros.errors import InvalidRequest

ATTEMPTS = 50  # bad scenes in a row before a mixture gives up
_BATCH, _CLIP = 1, 2  # streams of random numbers of one seed


@dataclass(frozen=True)
class Part:
    """One data set of a mixture. weight: its share of the clips, against the sum of all weights."""

    scenes: Scenes
    weight: float = 1.0
    sampling: ViewSampling = field(default_factory=ViewSampling)


class Mixture:
    """Clips of `parts`; what clip a position holds depends on nothing but the arguments.

    Every batch has one size of `sizes` (width, height) and one number of sources; batches step * world to
    (step + 1) * world - 1, those of all ranks at a step, have the same ones.

    batch: clips a batch. world: number of ranks. Bad scenes are replaced by others and noted in `skipped`.
    Raises InvalidRequest for no or useless weights, and for a clip where `ATTEMPTS` scenes in a row are bad.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        sizes: Sequence[tuple[int, int]] = RELEASED_SIZES,
        batch: int = 1,
        seed: int = 0,
        world: int = 1,
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
        if batch < 1 or world < 1 or not sizes:
            raise InvalidRequest(f"batch {batch}, {world} ranks, {len(sizes)} sizes: not possible")
        self.parts, self.sizes, self.batch, self.seed = list(parts), [(w, h) for w, h in sizes], batch, seed
        self.world = world
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
