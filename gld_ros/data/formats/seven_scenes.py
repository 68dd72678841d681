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

from gld_ros.data.formats.sequences import SequenceScenes, by_stem, together
from gld_ros.data.reading import MILLIMETRE, image_size, read_depth, read_rgb, read_text
from gld_ros.data.sequence import DEFAULT_CAMERA, Frame, Sequence, made_up_stamp
from gld_ros.data.tables import numbers, read_matrix
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, Camera, intrinsics
from gld_ros.geometry.points import resampled

log = logging.getLogger(__name__)

DEFAULT, DEFAULT_SIZE = (585.0, 585.0, 320.0, 240.0), (640, 480)
INFO = ("info.txt", "_info.txt", "../info.txt")
NO_DEPTH = 65.535  # metres


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
        needed = {
            "color": by_stem(path, ".color.png", ".color.jpg"),
            "pose": by_stem(path, ".pose.txt"),
        }
        extra = {"depth": by_stem(path, ".depth.png", ".depth.pgm")}
        files = [found for _, found in together(path, needed, extra)]
        size = image_size(files[0]["color"], str(files[0]["color"]))
        K = _lens(path, self.intrinsics, "Color", size)
        K_depth = K
        if "depth" in files[0]:
            K_depth = _lens(path, self.depth_intrinsics, "Depth", image_size(files[0]["depth"], str(files[0]["depth"])))
        frames = []
        for number, found in enumerate(files):
            image, depth = found["color"], found.get("depth")
            camera = Camera(K, read_matrix(found["pose"]), *size).check(str(found["pose"]))
            read_measured = partial(_depth, depth, K_depth, camera) if depth else None
            read_image = partial(read_rgb, image, str(image), size)
            frames.append(Frame(str(image), DEFAULT_CAMERA, made_up_stamp(number), camera, read_image, read_measured))
        return Sequence(path.resolve().name, path, frames, metric=True, timed=False)


def _lens(path: Path, given: list[float] | None, camera: str, size: tuple[int, int]) -> np.ndarray:
    """(3, 3) K of the "Color" or "Depth" camera, as given, by info.txt, or the default."""
    option = "intrinsics" if camera == "Color" else "depth_intrinsics"
    if given is not None:
        if not isinstance(given, list) or len(given) != 4:
            raise InvalidRequest(f"{path}: {option} is {given!r}, [fx,fy,cx,cy] is expected")
        return intrinsics(*given)
    info = next((path / name for name in INFO if (path / name).is_file()), None)
    if info is not None:
        key = f"m_calibration{camera}Intrinsic"
        for line in read_text(info).splitlines():
            name, _, values = line.partition("=")
            if name.strip() == key:
                found = numbers(values.split(), f"{info}: {key}")
                if len(found) != 16:
                    raise InvalidRequest(f"{info}: {key} has {len(found)} numbers, 4 x 4 are expected")
                return np.reshape(found, (4, 4))[:3, :3] + HALF_PIXEL
        raise InvalidRequest(f"{info}: {key} is missing")
    if size != DEFAULT_SIZE:
        raise InvalidRequest(
            f"{path}: {size[0]}x{size[1]} pixels; the default intrinsics are of 640x480, the option "
            f"{option}=[fx,fy,cx,cy] is expected"
        )
    if camera == "Color":
        log.warning("%s: no calibration; the colour camera is taken for the depth camera, with f 585 (options)", path)
    return intrinsics(*DEFAULT)


def _depth(file: Path, K: np.ndarray, camera: Camera) -> np.ndarray:
    depth = read_depth(file, MILLIMETRE, str(file))
    return resampled(np.where(depth > NO_DEPTH - MILLIMETRE / 2, np.float32(np.nan), depth), K, camera)
