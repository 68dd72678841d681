# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Loop closures: when the map frame moves under the kept key frames, they move with it or go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gld_ros.errors import TFError
from gld_ros.geometry.se3 import rotation_angle
from gld_ros.scene.key_frames import KeyFrameBuffer
from gld_ros.views import SourceView

LOOKED_AT = 8  # of the newest key frames: a map frame that moved moved for all
PoseNow = Callable[[str, int], np.ndarray]


@dataclass(frozen=True)
class JumpRules:
    """Above what difference (metres, radians) of a key frame's pose then and now the map frame has moved."""

    translation: float = 0.1
    rotation: float = 0.05

    def jumped(self, then: np.ndarray, now: np.ndarray) -> bool:
        """Of two poses (4, 4)."""
        return bool(
            np.linalg.norm(now[:3, 3] - then[:3, 3]) > self.translation or rotation_angle(now, then) > self.rotation
        )


def follow_map_frame(context: KeyFrameBuffer, pose_now: PoseNow, rules: JumpRules) -> tuple[int, int]:
    """Compare key frames with pose_now(camera, stamp), their (4, 4) optical pose as it is known now (TFError: unknown).

    If the newest ones jumped, every frame gets its pose of now, and those whose pose nobody knows any more are
    dropped. Returns how many (moved, dropped); (0, 0) where nothing jumped.
    """

    def now(name: str, view: SourceView) -> np.ndarray | None:
        try:
            return pose_now(name, view.stamp)
        except TFError:
            return None

    newest = context.named_frames()[-LOOKED_AT:]
    found = [(view, now(name, view)) for name, view in newest]
    if not any(pose is not None and rules.jumped(view.camera.c2w, pose) for view, pose in found):
        return 0, 0
    moved = 0

    def reposed(name: str, view: SourceView) -> SourceView | None:
        nonlocal moved
        pose = now(name, view)
        if pose is None:
            return None
        moved += 1
        return replace(view, camera=view.camera.moved(pose))

    before = len(context)
    context.replace(reposed)
    return moved, before - moved
