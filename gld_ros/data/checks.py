# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a whole data set before a training does: what is in it, and what is bad."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gld_ros.data.conventions import check_poses
from gld_ros.data.framing import make_clip
from gld_ros.data.scenes import Scenes
from gld_ros.data.skipped import Skipped
from gld_ros.errors import InvalidRequest

NEIGHBOURS = 3  # views in the middle of a scene whose poses are compared with their images
GAP = 10  # frames between those, at most


@dataclass
class Found:
    """What the good scenes hold."""

    scenes: int = 0
    frames: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)


def check_scenes(
    scenes: Scenes, progress: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers
) -> tuple[Found, Skipped]:
    """Of every scene: all cameras, the first and the last image, and the poses of some neighbours in its middle."""
    found, bad = Found(), Skipped()
    for index in progress(range(len(scenes))):
        try:
            frames = scenes.frames(index)
            for frame in (frames[0], frames[-1]):
                frame.view()
            _check_middle(scenes, index)
        except InvalidRequest as error:
            bad.add(scenes.names[index], str(error))
            continue
        found.scenes += 1
        found.frames += len(frames)
        found.sizes |= {(frame.camera.width, frame.camera.height) for frame in frames}
    return found, bad


def _check_middle(scenes: Scenes, index: int) -> None:
    frames = scenes.frames(index)
    camera = frames[len(frames) // 2].camera_name  # neighbours of a rig may look away from each other
    own = [frame for frame in frames if frame.camera_name == camera]
    step = max(min(GAP, (len(own) - 1) // (NEIGHBOURS - 1)), 1)
    start = max((len(own) - 1 - step * (NEIGHBOURS - 1)) // 2, 0)
    size = own[0].camera.width, own[0].camera.height
    check_poses(make_clip(own[start::step][:NEIGHBOURS], size, scenes.names[index]))
