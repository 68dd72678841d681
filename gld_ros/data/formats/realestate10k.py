# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""RealEstate10K: a text file of cameras a scene, and a folder of frames extracted from its video.

    ROOT/SCENE.txt             line 1: the video's address; then `time fx fy cx cy 0 0` and 12 numbers a frame
    FRAMES/SCENE/TIME.jpg      (or .png), TIME in microseconds as in the text file; FRAMES is ROOT by default

Intrinsics are shares of the width and height; the 12 numbers are world to camera, 3 x 4 by rows, OpenCV axes. The
poses' unit is arbitrary.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from gld_ros.data.reading import image_size, read_rgb, read_text
from gld_ros.data.scenes import Scenes, existing_folder
from gld_ros.data.sequence import DEFAULT_CAMERA, Frame
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.se3 import invert

COLUMNS = 19
SUFFIXES = (".jpg", ".png", ".jpeg")


class RealEstate10K(Scenes):
    """Scenes of a folder of camera files. frames: folder of the scenes' frame folders, by default the same."""

    one_camera = True

    def __init__(self, path: str | Path, frames: str | Path | None = None) -> None:
        self.root = existing_folder(path)
        self.frame_root = existing_folder(frames) if frames else self.root
        super().__init__(sorted(file.stem for file in self.root.glob("*.txt")), f"{path} (*.txt)")

    def read(self, index: int) -> list[Frame]:
        name = self.names[index]
        file = self.root / f"{name}.txt"
        rows = _rows(file)
        folder = self.frame_root / name
        first = _image(folder, rows[0][0])
        size = image_size(first, str(first))
        frames = []
        for number, (time, row) in enumerate(rows):
            camera = normalised_camera(row, size).check(f"{file}: frame {number}")
            path = str(folder / f"{time}{first.suffix}")
            read_image = partial(read_rgb, Path(path), path, size)
            frames.append(Frame(path, DEFAULT_CAMERA, int(time) * 1000, camera, read_image))  # microseconds
        return frames


def normalised_camera(row: np.ndarray, size: tuple[int, int]) -> Camera:
    """The camera of fx, fy, cx, cy as shares of `size` (width, height), two zeros, world to camera (3 x 4 by rows)."""
    pose = np.vstack([row[6:].reshape(3, 4), [0, 0, 0, 1]])
    return Camera(intrinsics(*(row[:4] * (*size, *size))), invert(pose), *size)


def _rows(file: Path) -> list[tuple[str, np.ndarray]]:
    """Time (as written) and the 18 numbers after it, of every frame."""
    lines = [line.split() for line in read_text(file).splitlines()[1:] if line.strip()]
    if not lines:
        raise InvalidRequest(f"{file}: no frames in it; is it truncated?")
    rows = []
    for number, line in enumerate(lines):
        try:
            if len(line) != COLUMNS:
                raise ValueError
            int(line[0])
            rows.append((line[0], np.array(line[1:], dtype=np.float64)))
        except ValueError:
            raise InvalidRequest(
                f"{file}: frame {number}: {len(line)} columns, {COLUMNS} numbers are expected; is it truncated?"
            ) from None
    return rows


def _image(folder: Path, time: str) -> Path:
    for suffix in SUFFIXES:
        if (folder / f"{time}{suffix}").is_file():
            return folder / f"{time}{suffix}"
    raise InvalidRequest(f"{folder / time}.jpg (or .png) does not exist")
