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

from gld_ros.data.formats.sequences import SequenceScenes, by_stem
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
        bodies = columns(poses, (12,))
        frames = []
        for name in CAMERAS:
            if (path / name).is_dir():
                files = list(by_stem(path / name, ".png", ".jpg").values())
                if not files or not len(files) == len(stamps) == len(bodies):
                    raise InvalidRequest(
                        f"{path}: {len(files)} images in {name}, {len(stamps)} times in times.txt and {len(bodies)} "
                        f"poses in {poses}; as many of each are expected"
                    )
                size = image_size(files[0], str(files[0]))
                make = partial(_frame, lens=_lens(path, name, projections, size), name=name, poses=poses)
                entries = enumerate(zip(files, stamps, bodies, strict=True))
                frames += self.good_frames(path, entries, make)
        return Sequence(path.resolve().name, path, frames, metric=True)


def _frame(entry: tuple[int, tuple[Path, int, list[str]]], lens: Camera, name: str, poses: Path) -> Frame:
    number, (file, stamp, row) = entry
    body = np.vstack([np.reshape(numbers(row, str(poses)), (3, 4)), [0, 0, 0, 1.0]])
    check_rigid(body, f"{poses}: line {number + 1}")
    read_image = partial(read_rgb, file, str(file), (lens.width, lens.height))
    return Frame(str(file), name, stamp, lens.moved(body @ lens.c2w), read_image)


def _lens(path: Path, name: str, projections: dict[str, np.ndarray], size: tuple[int, int]) -> Camera:
    """The camera at its place beside camera 0."""
    key = f"P{name[-1]}"
    if key not in projections:
        raise InvalidRequest(f"{path / 'calib.txt'}: {key} is missing, the projection of {name}")
    K = projections[key][:, :3]
    place = rigid(np.eye(3), -np.linalg.solve(K, projections[key][:, 3]))
    return Camera(K + HALF_PIXEL, place, *size).check(f"{path / 'calib.txt'}: {key}")


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


def _poses_file(path: Path) -> Path:
    folder = path.resolve()
    places = (folder.parent.parent / "poses" / f"{folder.name}.txt", path / "poses.txt")
    for file in places:
        if file.is_file():
            return file
    raise InvalidRequest(f"{path}: no poses; {places[0]} is expected (published for the sequences 00 to 10)")
