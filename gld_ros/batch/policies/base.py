# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The seam for policies: a sequence goes in, requests come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, model_validator

from gld_ros.data.formats.sequences import in_time
from gld_ros.data.sequence import Frame, Sequence
from gld_ros.evaluation.scenes import choose, windows
from gld_ros.geometry.cameras import Camera
from gld_ros.settings import STRICT, Count

STEP = 1000  # ns between the stamps of views that no frame was taken for


@dataclass(frozen=True)
class Ask:
    """One request: the frames that are given, the cameras asked for and the stamps (ns) of their views, the seed."""

    sources: list[Frame]
    targets: list[Camera]
    stamps: list[int]
    seed: int


@dataclass(frozen=True)
class Stretch:
    """Some frames of one camera: `given` to the model or `left_out`. path: (N, 3) centres of all of its frames."""

    given: list[Frame]
    left_out: list[Frame]
    path: np.ndarray


class Policy(BaseModel, ABC, frozen=True):
    """The settings of a run. The fields are the options, checked when it is made."""

    model_config = STRICT

    @abstractmethod
    def asks(self, sequence: Sequence, seed: Callable[[int], int]) -> Iterator[Ask]:
        """The requests of a sequence, in order. seed: that of a request by its number, of its random choices, too.

        Raises InvalidRequest for a sequence that has nothing to ask for.
        """


class Stretches(Policy, frozen=True):
    """One request for each stretch of `views` frames, `gap` apart, of one camera; no frame is in two of them.

    sources: of the frames of a stretch, from the first to the last, are given.
    """

    sources: Count = 2
    views: Count = 8
    gap: Count = 1

    @model_validator(mode="after")
    def _leaves_some_out(self) -> Stretches:
        if self.sources >= self.views:
            raise ValueError(f"sources is {self.sources}, less than the {self.views} views are expected")
        return self

    @abstractmethod
    def cameras(self, stretch: Stretch, rng: np.random.Generator) -> list[Camera]:
        """The cameras to ask for; none where there is nothing to ask for."""

    def stamps(self, stretch: Stretch, count: int) -> list[int]:
        """The stamps (ns) of that many views."""
        return [stretch.given[0].stamp + STEP * k for k in range(count)]

    def asks(self, sequence: Sequence, seed: Callable[[int], int]) -> Iterator[Ask]:
        number = 0
        for name in sequence.camera_names:
            frames = in_time(sequence, name)
            path = np.stack([frame.camera.center for frame in frames])
            for window in windows(len(frames), self.views, self.gap):
                choice = choose(len(window), self.sources)
                given, left_out = ([frames[window[k]] for k in part] for part in (choice.sources, choice.targets))
                stretch = Stretch(given, left_out, path)
                own_seed = seed(number)
                cameras = self.cameras(stretch, np.random.default_rng(own_seed))
                if cameras:
                    yield Ask(given, cameras, self.stamps(stretch, len(cameras)), own_seed)
                number += 1
