# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`path`: views from farther along the camera's own path, before it gets there."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from gld_ros.batch.policies.base import Stretch, Stretches
from gld_ros.geometry.cameras import Camera
from gld_ros.scene.viewpoints import along_path


class AlongPath(Stretches, frozen=True):
    """Level cameras that look along the path, at distances (m) ahead of the last frame given; z of the poses is up
    (REP 103). There are none beyond the end of the path."""

    ahead: list[float] = Field([0.5, 1.0, 2.0], min_length=1)

    def cameras(self, stretch: Stretch, rng: np.random.Generator) -> list[Camera]:
        last = stretch.given[-1].camera
        return [last.moved(c2w) for c2w in along_path(stretch.path, last.center, self.ahead)]
