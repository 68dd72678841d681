# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Layout of a posed sequence in TF and topics, for bags and for live playing: map -> base_link -> cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gld_ros.data.sequence import Frame, Sequence
from gld_ros.geometry.se3 import BODY_FROM_OPTICAL, invert
from gld_ros.views import SourceView

MAP, ODOM, BASE = "map", "odom", "base_link"
RIGID_TRANSLATION, RIGID_ROTATION = 1e-4, 1e-4  # share of the largest offset, and matrix entries


@dataclass(frozen=True)
class StampedTransform:
    """`matrix` (4, 4) gives points of frame `child` in frame `parent`; stamp in nanoseconds."""

    parent: str
    child: str
    stamp: int
    matrix: np.ndarray


@dataclass(frozen=True)
class Instant:
    """Messages of one stamp: the views by camera name, and the moving transforms they need."""

    stamp: int
    views: list[tuple[str, SourceView]]
    transforms: list[StampedTransform]


@dataclass(frozen=True)
class CameraTopics:
    """Topic names of one camera."""

    image: str
    compressed: str
    camera_info: str
    depth: str


def optical_frame(camera_name: str) -> str:
    """TF frame of a camera's optical axes."""
    return f"{camera_name}_optical_frame"


def camera_topics(camera_name: str) -> CameraTopics:
    """/NAME/image_raw, /NAME/image_raw/compressed, /NAME/camera_info, /NAME/depth/image_raw."""
    image = f"/{camera_name}/image_raw"
    return CameraTopics(image, f"{image}/compressed", f"/{camera_name}/camera_info", f"/{camera_name}/depth/image_raw")


class Rig:
    """TF of a sequence: `base_link` carries the first camera; the others hang on it where they are rigid to it.

    static: transforms that never change. A camera that is not rigid to the first one, or was seen at other stamps,
    gets its own moving transform from `map`, so that every pose is exact.
    """

    def __init__(self, sequence: Sequence) -> None:
        self.main = sequence.camera_names[0]
        first = {frame.stamp: frame for frame in sequence.frames if frame.camera_name == self.main}
        start = min(frame.stamp for frame in sequence.frames)
        self.static = [StampedTransform(BASE, optical_frame(self.main), start, BODY_FROM_OPTICAL)]
        self.rigid = {self.main}
        for name in sequence.camera_names[1:]:
            frames = [frame for frame in sequence.frames if frame.camera_name == name]
            if not all(frame.stamp in first for frame in frames):
                continue
            offsets = [invert(first[frame.stamp].camera.c2w) @ frame.camera.c2w for frame in frames]
            spread = np.abs(np.array(offsets) - offsets[0])
            reach = max(float(np.abs(offset[:3, 3]).max()) for offset in offsets)
            if spread[:, :3, :3].max() < RIGID_ROTATION and spread[:, :3, 3].max() <= RIGID_TRANSLATION * reach:
                matrix = BODY_FROM_OPTICAL @ offsets[0]
                self.static.append(StampedTransform(BASE, optical_frame(name), start, matrix))
                self.rigid.add(name)

    def moving(self, frame: Frame) -> StampedTransform | None:
        """The transform to publish with `frame`; None where the main camera's and the static ones say it all."""
        if frame.camera_name == self.main:
            return StampedTransform(MAP, BASE, frame.stamp, frame.camera.c2w @ invert(BODY_FROM_OPTICAL))
        if frame.camera_name in self.rigid:
            return None
        return StampedTransform(MAP, optical_frame(frame.camera_name), frame.stamp, frame.camera.c2w)
