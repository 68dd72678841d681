# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Raw exports of the app Polycam (developer mode, LiDAR).

    keyframes/corrected_images/TIME.jpg      undistorted; or, where the app did not optimise the poses, images
    keyframes/corrected_cameras/TIME.json    fx fy cx cy width height (pixels), t_00 ... t_23; or cameras
    keyframes/depth/TIME.png                 uint16 millimetres, smaller than the images, of the same field of view
    keyframes/confidence/TIME.png            0 low, 127 medium, 255 high

TIME is in microseconds. t_rc is row r, column c of camera to world, axes of OpenGL (ARKit: y up), metres; the corner of
the first pixel is at 0, 0. Depth of low confidence is left out, and the black border of a corrected image excluded.
https://github.com/PolyCam/polyform
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from gld_ros.data.formats.sequences import Files, SequenceScenes, by_stem, together
from gld_ros.data.reading import MILLIMETRE, image_size, read_depth, read_json, read_rgb
from gld_ros.data.sequence import DEFAULT_CAMERA, OPENGL_TO_OPENCV, Frame, Sequence
from gld_ros.data.tables import nanoseconds, numbers
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics

log = logging.getLogger(__name__)

#: Cameras and images, the better first.
PAIRS = (("corrected_cameras", "corrected_images"), ("cameras", "images"))
BLACK = 4  # grey levels, of JPEG
LENS = ("fx", "fy", "cx", "cy", "width", "height")
POSE = tuple(f"t_{row}{column}" for row in range(3) for column in range(4))


class PolycamScenes(SequenceScenes):
    """Exports of Polycam: `keyframes`, or the folder around it."""

    expected = "keyframes/corrected_cameras"

    @staticmethod
    def accepts(path: Path) -> bool:
        return _pair(_root(path)) is not None

    def open(self, path: Path) -> Sequence:
        root = _root(path)
        cameras, images = _pair(root) or PAIRS[0]
        if (cameras, images) != PAIRS[0]:
            log.warning("%s: no corrected_images; images are used, which are a little distorted", root)
        needed = {"cameras": by_stem(root / cameras, ".json"), "images": by_stem(root / images, ".jpg", ".png")}
        extra = {name: by_stem(root / name, ".png") for name in ("depth", "confidence")}
        having = [name for name, files in extra.items() if files]
        make = partial(_frame, having=having, corrected=images.startswith("corrected"))
        frames = self.good_frames(root, together(root, needed, extra), make)
        return Sequence(path.resolve().name, path, frames, metric=True)


def _frame(files: Files, having: list[str], corrected: bool) -> Frame:
    image, camera_file = files["images"], files["cameras"]
    camera = _camera(camera_file, image_size(image, str(image)))
    size, measured = (camera.width, camera.height), [files[name] for name in having]
    return Frame(
        str(image),
        DEFAULT_CAMERA,
        nanoseconds(files.name, "us", str(image), "the format"),
        camera,
        partial(read_rgb, image, str(image), size),
        partial(_depth, *measured, size=size) if "depth" in having else None,
        partial(_inside, image, size) if corrected else None,
    )


def _root(path: Path) -> Path:
    return path / "keyframes" if (path / "keyframes").is_dir() else path


def _pair(root: Path) -> tuple[str, str] | None:
    return next((pair for pair in PAIRS if all((root / name).is_dir() for name in pair)), None)


def _camera(file: Path, size: tuple[int, int]) -> Camera:
    content, where = read_json(file), str(file)
    missing = [key for key in (*LENS, *POSE) if key not in content]
    if missing:
        raise InvalidRequest(f"{where}: {missing[0]} is missing")
    *lens, width, height = numbers((str(content[key]) for key in LENS), where)
    pose = np.vstack([np.reshape(numbers((str(content[key]) for key in POSE), where), (3, 4)), [0, 0, 0, 1.0]])
    camera = Camera(intrinsics(*lens), pose @ OPENGL_TO_OPENCV, int(width), int(height)).check(where)
    if size != (camera.width, camera.height):
        raise InvalidRequest(f"{where}: {camera.width}x{camera.height} pixels, its image has {size[0]}x{size[1]}")
    return camera


def _inside(image: Path, size: tuple[int, int]) -> np.ndarray | None:
    """(H, W) False in the black border of an undistorted image; None where there is none."""
    black = read_rgb(image, str(image), size).max(axis=-1) <= BLACK
    _, parts = cv2.connectedComponents(np.asarray(black, np.uint8))
    edges = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    border = black & np.isin(parts, edges)
    return ~border if border.any() and not border.all() else None


def _depth(depth: Path, confidence: Path | None = None, *, size: tuple[int, int]) -> np.ndarray:
    measured = read_depth(depth, MILLIMETRE, str(depth), size)
    if confidence is None:
        return measured
    known = np.isfinite(read_depth(confidence, 1.0, str(confidence), size))  # 0 is low
    return np.where(known, measured, np.float32(np.nan))
