# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.scene.map.agreement import RECENT

BACKENDS = ("voxel_hash", "open3d")


@dataclass(frozen=True)
class MapConfig:
    """voxel_size: metres. max_depth: metres; surfaces beyond it are not taken.

    min_confidence: of an observed pixel, to mark its surface. free_confidence: to clear the space before it, up to
    `free_margin` of its depth: a wrong mark costs a detour, a wrong clearing an accident. (The confidence of the models
    is the probability that the depth is right within 10 %.)
    confirmations: how many of the four key frames before have to show the same surface within 3 %; until then a depth
    that a model found says nothing. A depth sensor's needs none.
    radius: metres around the robot that are kept. generated_lifetime: seconds until a generated point has faded away.
    max_voxels: of each layer; those seen longest ago go first. backend: of the observed layer, one of `BACKENDS`.
    """

    voxel_size: float = 0.05
    max_depth: float = 5.0
    min_confidence: float = 0.5
    free_confidence: float = 0.9
    free_margin: float = 0.1
    confirmations: int = 2
    radius: float = 10.0
    generated_lifetime: float = 60.0
    max_voxels: int = 1_000_000
    backend: str = "voxel_hash"

    def __post_init__(self) -> None:
        for name in ("voxel_size", "max_depth", "radius", "generated_lifetime", "max_voxels"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise InvalidRequest(f"map: {name} is {value}, expected a number above 0")
        if not 0 <= self.free_margin < 1:
            raise InvalidRequest(f"map: free_margin is {self.free_margin}, expected 0 or more and less than 1")
        if not 0 <= self.confirmations <= RECENT:
            raise InvalidRequest(f"map: confirmations is {self.confirmations}, expected 0 to {RECENT}")
        if self.backend not in BACKENDS:
            raise InvalidRequest(f"map: backend is '{self.backend}', expected one of {', '.join(BACKENDS)}")
