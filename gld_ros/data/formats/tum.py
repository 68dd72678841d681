# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""RGB-D recordings in the layout of the TUM benchmark: `rgb.txt`, `depth.txt`, `groundtruth.txt`, and their images.

The lists hold `seconds file` and `seconds tx ty tz qx qy qz qw` (camera to world, OpenCV axes, metres) a line.
`associations.txt` (`seconds file seconds file`) may be there instead of the first two. Depth is uint16, 5000 a metre,
registered to the colour images. Poses are interpolated to the colour images' times. K is that of `calibration.txt` in
the folder (fx fy cx cy, then k1 k2 p1 p2 k3 if distorted), or the published one where the name of the folder says which
of the three cameras it was. Both count pixel centres as whole numbers.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from gld_ros.data.formats.sequences import SequenceScenes
from gld_ros.data.reading import image_size, read_depth, read_rgb
from gld_ros.data.sequence import DEFAULT_CAMERA, Frame, Sequence
from gld_ros.data.tables import columns, nanoseconds, numbers
from gld_ros.data.trajectory import Trajectory, read_tum_trajectory
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, intrinsics
from gld_ros.geometry.distortion import Pinhole, undistort

#: fx fy cx cy k1 k2 p1 p2 k3 of the benchmark's cameras, of 640 x 480 pixels.
PUBLISHED = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3, 0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    "freiburg2": (520.9, 521.0, 325.1, 249.7, 0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
DEPTH_TOLERANCE = 20_000_000  # ns between a colour image and its depth
ASSOCIATIONS = ("associations.txt", "associated.txt", "associate.txt", "association.txt")
TRAJECTORIES = ("groundtruth.txt", "*.gt.freiburg", "traj*.gt.txt")


class TUMScenes(SequenceScenes):
    """RGB-D recordings. depth_unit: metres a step of the depth images. stamp_unit: of all times: s, ms, us or ns."""

    expected = "rgb.txt"
    one_camera = True

    def __init__(
        self, path: str | Path, depth_unit: float = 1 / 5000, stamp_unit: str = "s", frames: str | None = None
    ) -> None:
        self.depth_unit, self.stamp_unit = depth_unit, stamp_unit
        super().__init__(path, frames=frames)

    @staticmethod
    def accepts(path: Path) -> bool:
        return (path / "rgb.txt").is_file() or any((path / name).is_file() for name in ASSOCIATIONS)

    def open(self, path: Path) -> Sequence:
        colours, depths = self._lists(path)
        found = [file for name in TRAJECTORIES for file in sorted(path.glob(name))]
        trajectory = read_tum_trajectory(found[0] if found else path / TRAJECTORIES[0], self.stamp_unit, "stamp_unit")
        model = _pinhole(path, image_size(colours[0][1], str(colours[0][1])))
        make = partial(_frame, depths=depths, unit=self.depth_unit, trajectory=trajectory, model=model)
        frames = self.good_frames(path, colours, make)
        where, first = Path(trajectory.where).name, f"the first image is of {colours[0][0] / 1e9:.3f} s"
        if not frames:
            raise InvalidRequest(
                f"{path}: no pose in {where} at the time of any image: it has poses from {trajectory.span()}, {first}"
            )
        if depths and not any(frame.read_depth for frame in frames):
            raise InvalidRequest(
                f"{path}: no depth image within 0.02 s of any image: the first is of {depths[0][0] / 1e9:.3f}, {first}"
            )
        return Sequence(path.resolve().name, path, frames, metric=True)

    def _lists(self, folder: Path) -> tuple[list[tuple[int, Path]], list[tuple[int, Path]]]:
        """(ns, image) of the colour images, and of the depth images."""
        if (folder / "rgb.txt").is_file():
            with_depth = (folder / "depth.txt").is_file() or (folder / "depth").is_dir()
            return self._images(folder / "rgb.txt"), self._images(folder / "depth.txt") if with_depth else []
        file = next(folder / name for name in ASSOCIATIONS if (folder / name).is_file())
        pairs: tuple[list[tuple[int, Path]], list[tuple[int, Path]]] = [], []
        for row in columns(file, (4,)):
            for time, name in (row[:2], row[2:]):
                pairs["depth" in name].append((self._stamp(time, file), folder / name))
        return pairs

    def _images(self, file: Path) -> list[tuple[int, Path]]:
        return [(self._stamp(time, file), file.parent / name) for time, name in columns(file, (2,))]

    def _stamp(self, time: str, file: Path) -> int:
        return nanoseconds(time, self.stamp_unit, str(file), "the option stamp_unit")


def _frame(
    image: tuple[int, Path], depths: list[tuple[int, Path]], unit: float, trajectory: Trajectory, model: Pinhole
) -> Frame | None:
    """The frame of an image; None where motion capture lost the camera, or had not begun."""
    stamp, file = image
    pose = trajectory.at(stamp)
    if pose is None:
        return None
    camera = model.camera(pose).check(str(file))
    near = min(depths, key=lambda depth: abs(depth[0] - stamp), default=None)
    measured = near[1] if near and abs(near[0] - stamp) <= DEPTH_TOLERANCE else None
    read_measured = partial(_depth, measured, unit, model) if measured else None
    return Frame(str(file), DEFAULT_CAMERA, stamp, camera, partial(_colour, file, model), read_measured)


def _colour(path: Path, model: Pinhole) -> np.ndarray:
    return model.apply(read_rgb(path, str(path), (model.width, model.height)), str(path))


def _depth(path: Path, unit: float, model: Pinhole) -> np.ndarray:
    return model.apply(read_depth(path, unit, str(path), (model.width, model.height)), str(path))


def _pinhole(folder: Path, size: tuple[int, int]) -> Pinhole:
    file = folder / "calibration.txt"
    name = folder.resolve().name
    published = re.search("freiburg[123]", name)
    if file.exists():
        found = [number for line in columns(file) for number in numbers(line, str(file))]
    elif published:
        found = list(PUBLISHED[published.group()])
    else:
        raise InvalidRequest(f"{file} does not exist (fx fy cx cy), and {name!r} names no freiburg1, 2 or 3 camera")
    if not 4 <= len(found) <= 9:
        raise InvalidRequest(f"{file}: {len(found)} numbers, fx fy cx cy [k1 k2 p1 p2 k3] are expected")
    fx, fy, cx, cy, *D = found
    K = intrinsics(fx, fy, cx, cy) + HALF_PIXEL
    return undistort(K, np.pad(D, (0, 5 - len(D))).tolist(), "plumb_bob", *size, str(file))
