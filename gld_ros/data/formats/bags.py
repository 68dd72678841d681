# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags as scenes, with key frames by TF; `gld_ros.data.bag` reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gld_ros.data.bag import read_bag
from gld_ros.data.formats.sequences import SequenceScenes
from gld_ros.data.recording import ROS1_SUFFIX, is_recording
from gld_ros.data.sequence import Frame, Sequence
from gld_ros.geometry.se3 import rotation_angle


class Bags(SequenceScenes):
    """Bags: rosbag2 folders, folders of .mcap or .db3 without metadata, ROS 1 files.

    Frames nearer than `translation` metres and `rotation` degrees to the key frame before are left out. A bag is read
    through to find its frames: `gld data from-bag` once makes folders of them, for training. calibration, trajectory,
    trajectory_frame: files beside it, of what it does not hold (`bag.read_bag`).
    """

    expected = "metadata.yaml, *.mcap, *.db3, *.bag"

    def __init__(
        self,
        path: str | Path,
        camera: str | None = None,
        translation: float = 0.05,
        rotation: float = 5.0,
        calibration: str | Path | None = None,
        trajectory: str | Path | None = None,
        trajectory_frame: str | None = None,
    ) -> None:
        self.translation, self.rotation = translation, rotation
        self.beside = calibration, trajectory, trajectory_frame
        super().__init__(path, camera)

    @staticmethod
    def accepts(path: Path) -> bool:
        return is_recording(path)

    def open(self, path: Path) -> Sequence:
        return read_bag(path, *self.beside, self.skip_bad_frames, self.camera)

    def find_sequences(self, root: Path) -> list[tuple[str, Path]]:
        found: list[tuple[str, Path]] = []
        for name, bag in super().find_sequences(root):
            ros1 = sorted(bag.glob(f"*{ROS1_SUFFIX}"))  # a folder may hold several
            found += [(file.relative_to(root).as_posix(), file) for file in ros1] or [(name, bag)]
        return found

    def read(self, index: int) -> list[Frame]:
        return key_frames(super().read(index), self.translation, self.rotation)


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
