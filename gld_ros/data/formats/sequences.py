# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Posed sequences as scenes: transforms.json folders (nerfstudio, DL3DV) and rosbag2 with key frames by TF."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gld_ros.data.recording import ROS1_SUFFIX, is_recording
from gld_ros.data.scenes import Scenes, existing_folder
from gld_ros.data.sequence import Frame, Sequence, open_sequence
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.se3 import rotation_angle


class Folders(Scenes):
    """transforms.json folders below a folder, or the folder itself, named by their path (without `nerfstudio`).

    camera: one of a rig's; None takes all of them. frames: "FIRST-END", those of each sequence from number FIRST up to
    END, in time order; None takes all of them.
    """

    def __init__(self, path: str | Path, camera: str | None = None, frames: str | None = None) -> None:
        self.part = slice(None) if frames is None else frame_range(frames)
        root = existing_folder(path)
        found = list(subfolders(root, lambda folder, files: "transforms.json" in files))
        self.folders = [folder for _, folder in found]
        self.camera = camera
        super().__init__([name.removesuffix("/nerfstudio") for name, _ in found], f"{path} (transforms.json)")

    def read(self, index: int) -> list[Frame]:
        return in_time(open_sequence(self.folders[index]), self.camera)[self.part]


def frame_range(text: str) -> slice:
    """FIRST-END as a slice. Raises InvalidRequest for anything else."""
    found = re.fullmatch(r"(\d+)-(\d+)", str(text))
    if not found or int(found[1]) >= int(found[2]):
        raise InvalidRequest(f"frames={text}: FIRST-END is expected, as in frames=180-240")
    return slice(int(found[1]), int(found[2]))


class Bags(Scenes):
    """Bags below a folder, or the bag itself: rosbag2 folders, folders of .mcap or .db3 without metadata, ROS 1 files.

    Frames nearer than `translation` metres and `rotation` degrees to the key frame before are left out. A bag is read
    through to find its frames: `gld data from-bag` once makes folders of them, for training.
    """

    def __init__(
        self, path: str | Path, camera: str | None = None, translation: float = 0.05, rotation: float = 5.0
    ) -> None:
        root = Path(path)
        if root.is_file():
            found = [(root.resolve().name, root)]
        else:
            found = []
            for name, folder in subfolders(existing_folder(path), lambda folder, _: is_recording(folder)):
                ros1 = [(file.relative_to(root).as_posix(), file) for file in sorted(folder.glob(f"*{ROS1_SUFFIX}"))]
                found += ros1 or [(name, folder)]
        self.bags = [bag for _, bag in found]
        self.camera, self.translation, self.rotation = camera, translation, rotation
        super().__init__([name for name, _ in found], f"{path} (metadata.yaml, *.mcap, *.db3, *.bag)")

    def read(self, index: int) -> list[Frame]:
        return key_frames(in_time(open_sequence(self.bags[index]), self.camera), self.translation, self.rotation)


def in_time(sequence: Sequence, camera: str | None = None) -> list[Frame]:
    """Frames of one camera, or of all, in time order; where no times are known, in that of the files' names.

    Raises InvalidRequest for a camera that is not in it.
    """
    frames = [frame for frame in sequence.frames if camera in (None, frame.camera_name)]
    if not frames:
        names = ", ".join(sequence.camera_names)
        raise InvalidRequest(f"{sequence.path}: no camera {camera!r} in it, but {names}")
    return sorted(frames, key=(lambda frame: frame.stamp) if sequence.timed else (lambda frame: _natural(frame.name)))


def key_frames(frames: list[Frame], translation: float, rotation: float) -> list[Frame]:
    """Those that moved `translation` (poses' unit) or turned `rotation` degrees since the last one of their camera."""
    kept: list[Frame] = []
    latest: dict[str, np.ndarray] = {}
    for frame in frames:
        pose, before = frame.camera.c2w, latest.get(frame.camera_name)
        if (
            before is None
            or np.linalg.norm(pose[:3, 3] - before[:3, 3]) >= translation
            or np.degrees(rotation_angle(pose, before)) >= rotation
        ):
            kept.append(frame)
            latest[frame.camera_name] = pose
    return kept


def subfolders(root: Path, accepts: Callable[[Path, list[str]], bool]) -> Iterator[tuple[str, Path]]:
    """Name and path of folders below `root` that `accepts` (folder, file names), without looking into those.

    The name is the path below `root`, that of `root` itself its last part.
    """
    for text, below, files in os.walk(root):
        folder = Path(text)
        if accepts(folder, files):
            below.clear()
            yield (folder.resolve().name if folder == root else folder.relative_to(root).as_posix()), folder
        below.sort()


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
