# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI odometry: rectified cameras of a car, and the poses of its left grey one.

    sequences/00/image_0 ... image_3    000000.png, ...: left and right grey, left and right colour; any of them
    sequences/00/calib.txt              P0 to P3: 3 x 4 by rows, from points of camera 0 to pixels of each camera
    sequences/00/times.txt              seconds from the start, a line for each frame
    poses/00.txt                        3 x 4 by rows, camera 0 to world, a line for each frame; or 00/poses.txt

OpenCV axes, metres; pixel centres are whole numbers. The last column of P holds the camera's place beside camera 0.
https://www.cvlibs.net/datasets/kitti/eval_odometry.php
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from gld_ros.data.formats.sequences import SequenceScenes
from gld_ros.data.reading import image_size, read_rgb
from gld_ros.data.sequence import Frame, Sequence
from gld_ros.data.tables import columns, nanoseconds, numbers
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, Camera
from gld_ros.geometry.se3 import check_rigid, rigid

CAMERAS = ("image_0", "image_1", "image_2", "image_3")


class KITTIScenes(SequenceScenes):
    """Sequences of the odometry benchmark."""

    expected = "calib.txt beside image_2"

    @staticmethod
    def accepts(path: Path) -> bool:
        return (path / "calib.txt").is_file() and any((path / name).is_dir() for name in CAMERAS)

    def open(self, path: Path) -> Sequence:
        times, poses, projections = path / "times.txt", _poses_file(path), _projections(path / "calib.txt")
        stamps = [
            nanoseconds(row[0], "s", f"{times}: line {k + 1}", "the format") for k, row in enumerate(columns(times))
        ]
        bodies = [_pose(row, f"{poses}: line {k + 1}") for k, row in enumerate(columns(poses, (12,)))]
        frames = []
        for name in CAMERAS:
            if (path / name).is_dir():
                files = sorted(file for file in (path / name).iterdir() if file.suffix in (".png", ".jpg"))
                if not len(files) == len(stamps) == len(bodies):
                    raise InvalidRequest(
                        f"{path}: {len(files)} images in {name}, {len(stamps)} times in times.txt and {len(bodies)} "
                        f"poses in {poses}; as many of each are expected"
                    )
                frames += _frames(files, stamps, bodies, name, projections)
        return Sequence(path.resolve().name, path, frames, metric=True)


def _frames(
    files: list[Path], stamps: list[int], bodies: list[np.ndarray], name: str, projections: dict[str, np.ndarray]
) -> list[Frame]:
    key = f"P{name[-1]}"
    if key not in projections:
        raise InvalidRequest(f"{files[0].parents[1] / 'calib.txt'}: {key} is missing, the projection of {name}")
    K = projections[key][:, :3]
    place = rigid(np.eye(3), -np.linalg.solve(K, projections[key][:, 3]))
    size = image_size(files[0], str(files[0]))
    frames = []
    for file, stamp, body in zip(files, stamps, bodies, strict=True):
        camera = Camera(K + HALF_PIXEL, body @ place, *size).check(str(file))
        frames.append(Frame(str(file), name, stamp, camera, partial(read_rgb, file, str(file), size)))
    return frames


def _projections(file: Path) -> dict[str, np.ndarray]:
    """(3, 4) by name."""
    found = {}
    for row in columns(file):
        name = row[0].rstrip(":")
        if name.startswith("P"):
            values = numbers(row[1:], f"{file}: {name}")
            if len(values) != 12:
                raise InvalidRequest(f"{file}: {name} has {len(values)} numbers, 12 are expected")
            found[name] = np.reshape(values, (3, 4))
            if not np.isfinite(found[name]).all() or np.linalg.det(found[name][:, :3]) == 0:
                raise InvalidRequest(f"{file}: {name} is no projection: {values}")
    return found


def _pose(row: list[str], where: str) -> np.ndarray:
    pose = np.vstack([np.reshape(numbers(row, where), (3, 4)), [0, 0, 0, 1.0]])
    check_rigid(pose, where)
    return pose


def _poses_file(path: Path) -> Path:
    folder = path.resolve()
    places = (folder.parent.parent / "poses" / f"{folder.name}.txt", path / "poses.txt")
    for file in places:
        if file.is_file():
            return file
    raise InvalidRequest(f"{path}: no poses; {places[0]} is expected (published for the sequences 00 to 10)")
