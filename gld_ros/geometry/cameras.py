# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pinhole cameras: intrinsics, pose, how both follow a resize or a crop; the coordinates of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.se3 import check_rigid, invert, rotation_angle

#: Added to K where pixel centres are whole numbers (ROS, OpenCV), gives K that counts from the first pixel's corner.
HALF_PIXEL = np.array([[0.0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def intrinsics(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """(3, 3) K."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in OpenCV axes (x right, y down, z forward).

    K: (3, 3) float64, pixels; the centre of the first pixel is (0.5, 0.5), as in COLMAP and nerfstudio (ROS counts
    pixel centres as whole numbers: `ros.conversions` adds and subtracts the half).
    c2w: (4, 4) float64, camera to world, metres.
    width, height: pixels.
    """

    K: np.ndarray
    c2w: np.ndarray
    width: int
    height: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "K", np.asarray(self.K, dtype=np.float64).reshape(3, 3))
        object.__setattr__(self, "c2w", np.asarray(self.c2w, dtype=np.float64).reshape(4, 4))

    @property
    def w2c(self) -> np.ndarray:
        """(4, 4) world to camera."""
        return invert(self.c2w)

    @property
    def center(self) -> np.ndarray:
        """(3,) camera centre in the world, metres."""
        return self.c2w[:3, 3]

    @property
    def forward(self) -> np.ndarray:
        """(3,) unit viewing direction in the world."""
        return self.c2w[:3, 2]

    def check(self, name: str = "camera") -> Camera:
        """Return self, or raise InvalidRequest naming what is wrong: sizes, K, pose."""
        if self.width < 1 or self.height < 1:
            raise InvalidRequest(f"{name}: size {self.width}x{self.height} is not positive")
        if not np.isfinite(self.K).all() or self.K[0, 0] <= 0 or self.K[1, 1] <= 0:
            raise InvalidRequest(
                f"{name}: K has fx={self.K[0, 0]:g}, fy={self.K[1, 1]:g}; finite focal lengths above 0 are expected"
            )
        if not np.allclose(self.K[2], (0, 0, 1)):
            raise InvalidRequest(f"{name}: the last row of K is {self.K[2].tolist()}, expected [0, 0, 1]")
        check_rigid(self.c2w, name)
        return self

    def resized(self, width: int, height: int) -> Camera:
        """The same camera seen at another resolution; K follows (REP 104)."""
        scale = np.array([width / self.width, height / self.height, 1.0])
        return replace(self, K=self.K * scale[:, None], width=width, height=height)

    def cropped(self, x0: int, y0: int, width: int, height: int) -> Camera:
        """The window of `width` x `height` pixels whose first pixel is (x0, y0)."""
        K = self.K.copy()
        K[0, 2] -= x0
        K[1, 2] -= y0
        return replace(self, K=K, width=width, height=height)

    def moved(self, c2w: np.ndarray) -> Camera:
        """The same intrinsics at another pose."""
        return replace(self, c2w=c2w)


def nearest(target: Camera, cameras: Sequence[Camera]) -> int:
    """Index of the camera nearest to `target` in pose: distance in units of the median distance, plus radians.

    Raises ValueError without cameras.
    """
    if not cameras:
        raise ValueError("nearest() needs at least one camera")
    distances = np.array([np.linalg.norm(camera.center - target.center) for camera in cameras])
    turns = np.array([rotation_angle(camera.c2w, target.c2w) for camera in cameras])
    return int(np.argmin(distances / max(float(np.median(distances)), 1e-9) + turns))


class RelativeFrame:
    """World coordinates of a request, near 0 and near 1: float32 would lose a robot's position in map coordinates.

    The origin is the first source camera's centre, the unit the mean distance between source cameras (1 where they
    coincide).
    """

    def __init__(self, cameras: Sequence[Camera]):
        centres = np.stack([c.center for c in cameras])
        pairs = [np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]]
        self.baseline = float(np.mean(pairs)) if pairs else 0.0
        self.unit = self.baseline if self.baseline > 1e-9 else 1.0
        self.origin = centres[0]

    def relative(self, c2w: np.ndarray) -> np.ndarray:
        """(4, 4) c2w in this frame."""
        pose = c2w.copy()
        pose[:3, 3] = (pose[:3, 3] - self.origin) / self.unit
        return pose
