# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""RGB-D recordings in the layout of the TUM benchmark: `rgb.txt`, `depth.txt`, `groundtruth.txt`, and their images.

The lists hold `seconds file` and `seconds tx ty tz qx qy qz qw` (camera to world, OpenCV axes, metres) a line. Depth is
uint16, 5000 a metre, registered to the colour images. Poses are interpolated to the colour images' times. K is that of
`calibration.txt` in the folder (fx fy cx cy, then k1 k2 p1 p2 k3 if distorted), or the published one where the name of
the folder says which of the three cameras it was. Both count pixel centres as whole numbers.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from gld_ros.data.reading import image_size, read_depth, read_rgb, read_text
from gld_ros.data.scenes import Scenes, existing_folder
from gld_ros.data.sequence import DEFAULT_CAMERA, Frame
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, intrinsics
from gld_ros.geometry.distortion import Pinhole, undistort
from gld_ros.geometry.se3 import interpolate_pose, pose_from_quaternion

#: fx fy cx cy k1 k2 p1 p2 k3 of the benchmark's cameras, of 640 x 480 pixels.
PUBLISHED = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3, 0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    "freiburg2": (520.9, 521.0, 325.1, 249.7, 0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
DEPTH_TOLERANCE = 0.02  # seconds between a colour image and its depth
POSE_GAP = 0.12  # seconds between poses that are interpolated


class TUMScenes(Scenes):
    """Recordings below a folder, or the folder itself. depth_unit: metres a step of the depth images."""

    one_camera = True

    def __init__(self, path: str | Path, depth_unit: float = 1 / 5000) -> None:
        root = existing_folder(path)
        self.folders = [file.parent for file in sorted([*root.glob("rgb.txt"), *root.glob("*/rgb.txt")])]
        self.depth_unit = depth_unit
        super().__init__([folder.resolve().name for folder in self.folders], f"{path} (rgb.txt)")

    def read(self, index: int) -> list[Frame]:
        folder = self.folders[index]
        colours, depths = (_images(folder / name) for name in ("rgb.txt", "depth.txt"))
        file = folder / "groundtruth.txt"
        poses = np.array([_numbers(line, file) for line in _lines(file, 8)])
        if not np.isfinite(poses).all():
            raise InvalidRequest(f"{file}: a pose holds NaN")
        size = image_size(colours[0][1], str(colours[0][1]))
        model = _pinhole(folder, size)
        frames = []
        for time, path in colours:
            pose = _pose_at(poses, time, str(folder / "groundtruth.txt"))
            if pose is None:  # motion capture lost the camera, or had not begun
                continue
            near = min(depths, key=lambda depth: abs(depth[0] - time))
            depth = near[1] if abs(near[0] - time) <= DEPTH_TOLERANCE else None
            camera = model.camera(pose).check(str(path))
            read_image = partial(_colour, path, model)
            read_measured = partial(_depth, depth, self.depth_unit, model) if depth else None
            frames.append(Frame(str(path), DEFAULT_CAMERA, round(time * 1e9), camera, read_image, read_measured))
        if not frames:
            raise InvalidRequest(f"{folder}: no pose in groundtruth.txt at the time of any image")
        return frames


def _colour(path: Path, model: Pinhole) -> np.ndarray:
    return model.apply(read_rgb(path, str(path), (model.width, model.height)), str(path))


def _depth(path: Path, unit: float, model: Pinhole) -> np.ndarray:
    return model.apply(read_depth(path, unit, str(path), (model.width, model.height)), str(path))


def _images(file: Path) -> list[tuple[float, Path]]:
    """(seconds, image) of every line."""
    return [(_numbers([time], file)[0], file.parent / name) for time, name in _lines(file, 2)]


def _numbers(texts: list[str], file: Path) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise InvalidRequest(f"{file}: {error}; a number is expected") from None


def _lines(file: Path, columns: int | None = None) -> list[list[str]]:
    """The columns of every line that is no comment; as many as there should be, or any number."""
    lines = [line.split() for line in read_text(file).splitlines() if line.strip() and not line.startswith("#")]
    for number, line in enumerate(lines):
        if columns is not None and len(line) != columns:
            raise InvalidRequest(f"{file}: entry {number} has {len(line)} columns, {columns} are expected")
    if not lines:
        raise InvalidRequest(f"{file}: empty")
    return lines


def _pinhole(folder: Path, size: tuple[int, int]) -> Pinhole:
    file = folder / "calibration.txt"
    name = folder.resolve().name
    published = re.search("freiburg[123]", name)
    if file.exists():
        numbers = [number for line in _lines(file) for number in _numbers(line, file)]
    elif published:
        numbers = list(PUBLISHED[published.group()])
    else:
        raise InvalidRequest(f"{file} does not exist (fx fy cx cy), and {name!r} names no freiburg1, 2 or 3 camera")
    if not 4 <= len(numbers) <= 9:
        raise InvalidRequest(f"{file}: {len(numbers)} numbers, fx fy cx cy [k1 k2 p1 p2 k3] are expected")
    fx, fy, cx, cy, *D = numbers
    K = intrinsics(fx, fy, cx, cy) + HALF_PIXEL
    return undistort(K, np.pad(D, (0, 5 - len(D))).tolist(), "plumb_bob", *size, str(file))


def _pose_at(poses: np.ndarray, time: float, where: str) -> np.ndarray | None:
    """(4, 4) pose at a time, of (N, 8) rows in time order; None outside them or in a gap."""
    after = int(np.searchsorted(poses[:, 0], time))
    if after < len(poses) and poses[after, 0] == time:
        return _matrix(poses[after], where)
    if after in (0, len(poses)) or poses[after, 0] - poses[after - 1, 0] > POSE_GAP:
        return None
    before, later = poses[after - 1], poses[after]
    return interpolate_pose(_matrix(before, where), _matrix(later, where), (time - before[0]) / (later[0] - before[0]))


def _matrix(row: np.ndarray, where: str) -> np.ndarray:
    return pose_from_quaternion(row[1:4], row[4:], where)
