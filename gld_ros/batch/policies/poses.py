# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`poses`: views from the poses of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from gld_ros.batch.policies.base import Ask, Policy
from gld_ros.data.formats.sequences import in_time
from gld_ros.data.sequence import Sequence
from gld_ros.data.trajectory import read_tum_trajectory
from gld_ros.errors import NoContext
from gld_ros.scene.key_frames import select_sources
from gld_ros.settings import Count

TOGETHER = 32  # views of one request, at most: they are in memory together


class Poses(Policy, frozen=True):
    """The first camera of the sequence at the poses of a TUM file: stamp tx ty tz qx qy qz qw, the pose of the optical
    frame (x right, y down, z forward) in the frame of the sequence's poses.

    file: `{name}` in it stands for the name of the sequence. sources: frames given for each, those that see most of
    what it looks at. Poses with the same ones are one request.
    """

    file: str
    sources: Count = 2

    def asks(self, sequence: Sequence, seed: Callable[[int], int]) -> Iterator[Ask]:
        wanted = read_tum_trajectory(Path(self.file.replace("{name}", sequence.name)))
        frames = in_time(sequence, sequence.camera_names[0])
        groups: dict[tuple[int, ...], list[int]] = {}
        for k, c2w in enumerate(wanted.poses):
            try:
                found = select_sources(frames, [frames[0].camera.moved(c2w)], self.sources)
            except NoContext as error:
                raise NoContext(f"{wanted.where}: the pose at {wanted.stamps[k] / 1e9:.6f} s: {error}") from None
            chosen = {id(frame) for frame in found}
            groups.setdefault(tuple(n for n, frame in enumerate(frames) if id(frame) in chosen), []).append(k)
        parts = [
            (key, group[k : k + TOGETHER]) for key, group in groups.items() for k in range(0, len(group), TOGETHER)
        ]
        for number, (key, part) in enumerate(parts):
            cameras = [frames[0].camera.moved(wanted.poses[k]) for k in part]
            yield Ask([frames[n] for n in key], cameras, [wanted.stamps[k] for k in part], seed(number))
