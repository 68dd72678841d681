# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`offsets`: views from beside where the camera was."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field, field_validator

from gld_ros.batch.policies.base import Stretch, Stretches
from gld_ros.data.sequence import Frame
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import BODY_FROM_OPTICAL, invert
from gld_ros.scene.viewpoints import at_offsets


def beside(frame: Frame, offsets: list[float]) -> list[Camera]:
    """The camera of a frame moved by x, y, z (metres forward, left, up as it looks) and turned by yaw (degrees, to the
    left), for each four numbers of `offsets`. Raises InvalidRequest as `at_offsets`."""
    radians = [math.radians(number) if k % 4 == 3 else number for k, number in enumerate(offsets)]
    body = frame.camera.c2w @ invert(BODY_FROM_OPTICAL)
    return [frame.camera.moved(c2w) for c2w in at_offsets(body, radians)]


class Offsets(Stretches, frozen=True):
    """Cameras at offsets from the middle one of the frames that are given."""

    at: list[float] = Field(description="x, y, z (m: forward, left, up) and yaw (degrees, left) of each view")

    @field_validator("at")
    @classmethod
    def _in_fours(cls, at: list[float]) -> list[float]:
        try:
            at_offsets(np.eye(4), at)
        except InvalidRequest as error:
            raise ValueError(str(error)) from None
        return at

    def cameras(self, stretch: Stretch, rng: np.random.Generator) -> list[Camera]:
        return beside(stretch.given[len(stretch.given) // 2], self.at)
