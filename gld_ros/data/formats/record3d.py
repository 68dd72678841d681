# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of the app Record3D: its export as EXR + JPG, and its own .r3d, zipped or not.

    metadata.json    rgb/0.jpg ...     depth/0.exr ... (metres)         EXR + JPG; perhaps below EXR_RGBD
    metadata         rgbd/0.jpg ...    rgbd/0.depth, 0.conf ...         .r3d: float32 metres, LZFSE

The metadata hold `K` (3 x 3 by columns) or `perFrameIntrinsicCoeffs` (fx fy cx cy) of images of `w` x `h`, the size of
the depth `dw` x `dh`, `poses` (qx qy qz qw tx ty tz: camera to world, axes of OpenGL, metres) and, in newer versions,
`frameTimestamps` (seconds). The depth has the field of view of the images. Where its confidence is low, it is left out.
https://github.com/marek-simonik/record3d (its issues 7, 27 and 93)
"""

from __future__ import annotations

import json
import logging
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.data.formats.sequences import Files, Place, SequenceScenes, by_stem, together
from gld_ros.data.reading import image_size, read_depth, read_rgb
from gld_ros.data.sequence import DEFAULT_CAMERA, OPENGL_TO_OPENCV, Frame, Sequence, made_up_stamp
from gld_ros.data.tables import nanoseconds, numbers
from gld_ros.errors import InvalidRequest
from gld_ros.extras import require
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.se3 import pose_from_quaternion

log = logging.getLogger(__name__)

#: Metadata, folder and suffix of images, folder and suffix of depth.
LAYOUTS = (("metadata.json", "rgb", "depth", ".exr"), ("metadata", "rgbd", "rgbd", ".depth"))
PER_FRAME = ("perFrameIntrinsicCoeffs", "frameTimestamps")
LOW = 0  # of a .conf file: 0 low, 1 medium, 2 high


class Record3DScenes(SequenceScenes):
    """Exports of Record3D: folders, or .r3d files."""

    expected = "metadata.json beside rgb, *.r3d"

    @staticmethod
    def accepts(path: Path) -> bool:
        return path.suffix == ".r3d" or _layout(_root(path)) is not None

    def find_sequences(self, root: Path) -> list[tuple[str, Path]]:
        zipped = sorted(root.rglob("*.r3d")) if root.is_dir() else []
        return super().find_sequences(root) + [(file.relative_to(root).as_posix(), file) for file in zipped]

    def open(self, path: Path) -> Sequence:
        root, (metadata, images, depths, suffix) = _opened(path)
        where = f"{path}: {metadata}"
        content = _metadata(root / metadata, where)
        measured = by_stem(root / depths, suffix)
        if measured and suffix == ".depth" and not _can_decompress(path):
            measured = {}
        pictures = by_stem(root / images, ".jpg")
        files = together(path, {"images": pictures}, {"depth": measured})
        first = next(iter(pictures.values()))
        size = image_size(_content(first), str(first))
        stated = _size(content, ("w", "h"), size, where)
        if abs(size[0] * stated[1] - size[1] * stated[0]) > max(*size, *stated):  # another shape, not only another size
            raise InvalidRequest(f"{first}: {size[0]}x{size[1]} pixels, the metadata say {stated[0]}x{stated[1]}")
        poses = content["poses"]
        for key in ("poses", *(key for key in PER_FRAME if content.get(key))):
            if not isinstance(content[key], list) or len(content[key]) != len(files):
                raise InvalidRequest(f"{where}: {key} are not one for each image; {len(files)} are expected")
        if len(poses) > 1 and all(pose == poses[0] for pose in poses):
            raise InvalidRequest(f"{where}: all poses are {poses[0]}; the app knows poses of the LiDAR camera only")
        make = partial(_frame, content=content, size=size, with_depth=bool(measured), where=where)
        frames = self.good_frames(path, enumerate(files), make)
        return Sequence(path.resolve().stem, path, frames, metric=True, timed=bool(content.get("frameTimestamps")))


def _opened(path: Path) -> tuple[Place, tuple[str, str, str, str]]:
    """The folder or zip of a recording, and its layout."""
    try:
        root: Place = zipfile.Path(path) if path.is_file() else _root(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidRequest(f"{path}: no .r3d file ({error}); is it truncated?") from None
    layout = _layout(root)
    if layout is None:
        raise InvalidRequest(f"{path}: metadata and rgbd are not in it")
    return root, layout


def _frame(
    entry: tuple[int, Files], content: dict[str, Any], size: tuple[int, int], with_depth: bool, where: str
) -> Frame:
    number, files = entry
    image, where = files["images"], f"{where}: frame {number}"
    stated = _size(content, ("w", "h"), size, where)
    pose = content["poses"][number]
    if not isinstance(pose, list) or len(pose) != 7:
        raise InvalidRequest(f"{where}: the pose is {pose}, qx qy qz qw tx ty tz are expected")
    values = numbers(map(str, pose), where)
    c2w = pose_from_quaternion(values[4:], values[:4], where) @ OPENGL_TO_OPENCV
    camera = Camera(_intrinsics(content, number, where), c2w, *stated).check(where).resized(*size)
    stamp = made_up_stamp(number)
    if content.get("frameTimestamps"):
        stamp = nanoseconds(content["frameTimestamps"][number], "s", where, "the format")
    read_measured = partial(_depth, files["depth"], content, size) if with_depth else None
    return Frame(str(image), DEFAULT_CAMERA, stamp, camera, partial(_image, image, size), read_measured)


def _intrinsics(content: dict[str, Any], number: int, where: str) -> np.ndarray:
    key, size = ("perFrameIntrinsicCoeffs", 4) if content.get("perFrameIntrinsicCoeffs") else ("K", 9)
    stated = content[key][number] if size == 4 else content.get(key)
    if not isinstance(stated, list) or len(stated) != size:
        raise InvalidRequest(f"{where}: {key} is {stated!r}, {size} numbers are expected")
    values = numbers(map(str, stated), f"{where}: {key}")
    return intrinsics(*values) if size == 4 else np.reshape(values, (3, 3)).T


def _size(content: dict[str, Any], keys: tuple[str, str], default: tuple[int, int], where: str) -> tuple[int, int]:
    first, second = numbers((str(content.get(key, value)) for key, value in zip(keys, default, strict=True)), where)
    if not (first >= 1 and second >= 1 and np.isfinite(first * second)):
        raise InvalidRequest(f"{where}: {' x '.join(keys)} are {first} x {second}, sizes above 0 are expected")
    return int(first), int(second)


def _image(file: Place, size: tuple[int, int]) -> np.ndarray:
    return read_rgb(_content(file), str(file), size)


def _depth(file: Place, content: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    data, where = _content(file), str(file)
    if where.endswith(".exr"):
        return read_depth(data, 1.0, where, size)
    shape = _size(content, ("dh", "dw"), (256, 192), where)
    depth = _decompressed(data, np.dtype("<f4"), shape, where)
    confidence = file.parent.joinpath(f"{file.name.removesuffix('.depth')}.conf")
    if confidence.is_file():
        low = _decompressed(_content(confidence), np.dtype("u1"), shape, str(confidence)) == LOW
        depth = np.where(low, np.float32(np.nan), depth)
    return read_depth(depth, 1.0, where, size)


def _decompressed(data: bytes, kind: np.dtype, shape: tuple[int, int], where: str) -> np.ndarray:
    import lzfse

    try:
        return np.frombuffer(lzfse.decompress(data), kind).reshape(shape)
    except (lzfse.error, ValueError) as error:
        raise InvalidRequest(f"{where}: no LZFSE of {shape[1]}x{shape[0]} values ({error})") from None


def _can_decompress(path: Path) -> bool:
    try:
        require("record3d", "depth of .r3d files")
    except InvalidRequest as error:
        log.warning("%s: its depth is left out: %s; or export it as EXR + JPG", path, error)
        return False
    return True


def _metadata(file: Place, where: str) -> dict[str, Any]:
    try:
        content = json.loads(_content(file))
    except ValueError as error:
        raise InvalidRequest(f"{where}: not valid JSON ({error}); is it truncated?") from None
    if not isinstance(content, dict) or "poses" not in content:
        raise InvalidRequest(f"{where}: poses are missing, a list with one for each image is expected")
    return content


def _content(file: Place) -> bytes:
    try:
        if isinstance(
            file, zipfile.Path
        ):  # opened anew: processes that share an open file would read in each other's places
            with zipfile.ZipFile(str(file.root.filename)) as recording:
                return recording.read(file.at)
        return file.read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidRequest(f"{file}: cannot be read ({error})") from None


def _root(path: Path) -> Path:
    return path / "EXR_RGBD" if (path / "EXR_RGBD").is_dir() else path


def _layout(root: Place) -> tuple[str, str, str, str] | None:
    """The first one whose metadata and images are there."""
    return next((layout for layout in LAYOUTS if (root / layout[0]).is_file() and (root / layout[1]).is_dir()), None)
