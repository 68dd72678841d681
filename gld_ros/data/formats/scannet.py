# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ScanNet scenes as its SensReader exports them from a .sens file.

    color/0.jpg                      1296 x 968
    depth/0.png                      uint16 millimetres, 640 x 480; 0 is unknown
    pose/0.txt                       4 x 4, camera to world, OpenCV axes, metres; -inf where tracking was lost
    intrinsic/intrinsic_color.txt    4 x 4, pixel centres are whole numbers; likewise intrinsic_depth.txt
    intrinsic/extrinsic_color.txt    the same as extrinsic_depth.txt: both cameras are in one place

A frame without a pose is a bad one. There are no times. https://github.com/ScanNet/ScanNet/tree/master/SensReader
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from gld_ros.data.formats.sequences import Files, SequenceScenes, by_stem, together
from gld_ros.data.reading import MILLIMETRE, image_size, read_depth, read_rgb
from gld_ros.data.sequence import DEFAULT_CAMERA, Frame, Sequence, made_up_stamp
from gld_ros.data.tables import read_matrix
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, Camera
from gld_ros.geometry.points import resampled

NO_DEPTH = 65.5345  # metres; 65535 is what a Kinect could not measure


class ScanNetScenes(SequenceScenes):
    """Exported scenes. size: [width, height] that the colour intrinsics are of, where the export shrank the images."""

    expected = "color, pose and intrinsic"

    def __init__(self, path: str | Path, size: list[int] | None = None, frames: str | None = None) -> None:
        self.size = size
        super().__init__(path, frames=frames)

    @staticmethod
    def accepts(path: Path) -> bool:
        return all((path / name).is_dir() for name in ("color", "pose", "intrinsic"))

    def open(self, path: Path) -> Sequence:
        needed = {"color": by_stem(path / "color", ".jpg", ".png"), "pose": by_stem(path / "pose", ".txt")}
        depths = by_stem(path / "depth", ".png")
        entries = together(path, needed, {"depth": depths})
        first = next(iter(needed["color"].values()))
        lens = self._lens(path / "intrinsic", image_size(first, str(first)))
        K_depth = _depth_lens(path / "intrinsic") if depths else None
        make = partial(posed_frame, lens=lens, K_depth=K_depth)
        frames = self.good_frames(path, enumerate(entries), make)
        return Sequence(path.resolve().name, path, frames, metric=True, timed=False)

    def _lens(self, folder: Path, size: tuple[int, int]) -> Camera:
        """The colour camera, at the origin."""
        file = folder / "intrinsic_color.txt"
        K = read_matrix(file)[:3, :3] + HALF_PIXEL
        stated = tuple(self.size or size)
        if not (0 < K[0, 2] < stated[0] and 0 < K[1, 2] < stated[1]):
            raise InvalidRequest(
                f"{file}: the principal point {K[0, 2]:g}, {K[1, 2]:g} is outside an image of {stated[0]}x{stated[1]}; "
                "the option size=[WIDTH,HEIGHT] says what size the numbers are of, as size=[1296,968]"
            )
        return Camera(K, np.eye(4), *stated).check(str(file)).resized(*size)


def _depth_lens(folder: Path) -> np.ndarray:
    """(3, 3) K of the depth camera."""
    colour, depth = (folder / f"extrinsic_{name}.txt" for name in ("color", "depth"))
    both = colour.is_file() and depth.is_file()
    if both and not np.allclose(read_matrix(colour), read_matrix(depth), atol=1e-4):
        raise InvalidRequest(f"{depth}: another pose than in {colour.name}; one place of both cameras is expected")
    return read_matrix(folder / "intrinsic_depth.txt")[:3, :3] + HALF_PIXEL


def posed_frame(entry: tuple[int, Files], lens: Camera, K_depth: np.ndarray | None) -> Frame:
    """The frame of number, `color`, `pose` and, where its camera's K (3, 3) is given, `depth` in millimetres."""
    number, files = entry
    image, pose = files["color"], files["pose"]
    camera, size = lens.moved(read_matrix(pose)).check(str(pose)), (lens.width, lens.height)
    read_image = partial(read_rgb, image, str(image), size)
    read_measured = None if K_depth is None else partial(_depth, files["depth"], K_depth, camera)
    return Frame(str(image), DEFAULT_CAMERA, made_up_stamp(number), camera, read_image, read_measured)


def _depth(file: Path, K: np.ndarray, camera: Camera) -> np.ndarray:
    depth = read_depth(file, MILLIMETRE, str(file))
    return resampled(np.where(depth < NO_DEPTH, depth, np.float32(np.nan)), K, camera)
