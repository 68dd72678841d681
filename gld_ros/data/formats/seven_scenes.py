# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""7-Scenes, and what is in its layout: 12-Scenes, BundleFusion, ScanNet's C++ export.

    frame-000000.color.png    640 x 480 (.jpg elsewhere)
    frame-000000.depth.png    uint16 millimetres, 0 and 65535 are unknown (.pgm elsewhere)
    frame-000000.pose.txt     4 x 4, camera to world, OpenCV axes, metres; -inf where tracking was lost
    info.txt or _info.txt     elsewhere only: m_calibrationColorIntrinsic, m_calibrationDepthIntrinsic

7-Scenes was recorded without a calibration: "the default intrinsics for the depth camera" are a focal length of 585 and
the principal point 320, 240, and its authors give none for the colour camera. Without options both cameras have these
here, in one place; in truth a Kinect's colour camera has a shorter focal length and sits beside the depth camera.
A frame without a pose is a bad one. There are no times.
https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np

from gld_ros.data.formats.scannet import posed_frame
from gld_ros.data.formats.sequences import SequenceScenes, by_stem, together
from gld_ros.data.reading import image_size, read_text
from gld_ros.data.sequence import Sequence
from gld_ros.data.tables import numbers
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, Camera, intrinsics

log = logging.getLogger(__name__)

DEFAULT, DEFAULT_SIZE = (585.0, 585.0, 320.0, 240.0), (640, 480)
INFO = ("info.txt", "_info.txt", "../info.txt")


class SevenScenes(SequenceScenes):
    """Sequences of frames. intrinsics: [fx,fy,cx,cy] of the colour camera, depth_intrinsics: of the depth camera, both
    in pixels from the corner of the first one; default: those of info.txt, else [585,585,320,240].
    """

    expected = "frame-000000.color.png"

    def __init__(
        self,
        path: str | Path,
        intrinsics: list[float] | None = None,
        depth_intrinsics: list[float] | None = None,
        frames: str | None = None,
    ) -> None:
        self.intrinsics, self.depth_intrinsics = intrinsics, depth_intrinsics
        super().__init__(path, frames=frames)

    @staticmethod
    def accepts(path: Path) -> bool:
        return any(path.glob("frame-*.color.*"))

    def open(self, path: Path) -> Sequence:
        needed = {"color": by_stem(path, ".color.png", ".color.jpg"), "pose": by_stem(path, ".pose.txt")}
        depths = by_stem(path, ".depth.png", ".depth.pgm")
        entries = together(path, needed, {"depth": depths})
        lens = _lens(path, self.intrinsics, "Color", next(iter(needed["color"].values())))
        K_depth = _lens(path, self.depth_intrinsics, "Depth", next(iter(depths.values()))).K if depths else None
        frames = self.good_frames(path, enumerate(entries), partial(posed_frame, lens=lens, K_depth=K_depth))
        return Sequence(path.resolve().name, path, frames, metric=True, timed=False)


def _lens(path: Path, given: list[float] | None, name: str, file: Path) -> Camera:
    """The "Color" or "Depth" camera of an image, at the origin: as given, by info.txt, or by default."""
    size, K = image_size(file, str(file)), _stated(path, name)
    option = "intrinsics" if name == "Color" else "depth_intrinsics"
    if given is not None:
        if not isinstance(given, list) or len(given) != 4:
            raise InvalidRequest(f"{path}: {option} is {given!r}, [fx,fy,cx,cy] is expected")
        K = intrinsics(*given)
    if K is None and size != DEFAULT_SIZE:
        raise InvalidRequest(
            f"{file}: {size[0]}x{size[1]} pixels; the default intrinsics are of 640x480, the option "
            f"{option}=[fx,fy,cx,cy] is expected"
        )
    if K is None and name == "Color":
        log.warning("%s: no calibration; the colour camera is taken for the depth camera, with f 585 (options)", path)
    return Camera(intrinsics(*DEFAULT) if K is None else K, np.eye(4), *size).check(f"{path}: {option}")


def _stated(path: Path, name: str) -> np.ndarray | None:
    """(3, 3) K of info.txt; None where there is none."""
    info = next((path / name for name in INFO if (path / name).is_file()), None)
    if info is None:
        return None
    key = f"m_calibration{name}Intrinsic"
    for line in read_text(info).splitlines():
        stated, _, values = line.partition("=")
        if stated.strip() == key:
            found = numbers(values.split(), f"{info}: {key}")
            if len(found) != 16:
                raise InvalidRequest(f"{info}: {key} has {len(found)} numbers, 4 x 4 are expected")
            return np.reshape(found, (4, 4))[:3, :3] + HALF_PIXEL
    raise InvalidRequest(f"{info}: {key} is missing")
