# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`away`: random views that look where the frames did not."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from gld_ros.batch.policies.base import Stretch, Stretches
from gld_ros.batch.policies.offsets import beside
from gld_ros.geometry.cameras import Camera
from gld_ros.settings import Count


class Away(Stretches, frozen=True):
    """`count` cameras, each from a random one of the frames given: turned to a side by `least` to `most` degrees and
    moved by up to `step` metres, forward and to the sides."""

    count: Count = 4
    least: float = Field(10.0, ge=0, le=180)
    most: float = Field(70.0, ge=0, le=180)
    step: float = Field(0.3, ge=0)

    def cameras(self, stretch: Stretch, rng: np.random.Generator) -> list[Camera]:
        def one() -> Camera:
            frame = stretch.given[rng.integers(len(stretch.given))]
            turn = rng.choice([-1, 1]) * rng.uniform(self.least, self.most)
            (camera,) = beside(frame, [self.step * rng.random(), self.step * rng.uniform(-1, 1), 0.0, turn])
            return camera

        return [one() for _ in range(self.count)]
