# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`left-out`: the frames of a stretch that are not given, to be compared with the real ones."""

from __future__ import annotations

import numpy as np

from gld_ros.batch.policies.base import Stretch, Stretches
from gld_ros.geometry.cameras import Camera


class LeftOut(Stretches, frozen=True):
    """The cameras of the frames that are left out, at their stamps."""

    def cameras(self, stretch: Stretch, rng: np.random.Generator) -> list[Camera]:
        return [frame.camera for frame in stretch.left_out]

    def stamps(self, stretch: Stretch, count: int) -> list[int]:
        return [frame.stamp for frame in stretch.left_out]
