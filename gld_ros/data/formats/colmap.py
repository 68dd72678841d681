# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""COLMAP models, binary or text: `cameras` and `images` in `sparse/0` beside the folder `images`.

The layout is that of https://colmap.github.io/format.html: poses are world to camera with quaternions w x y z, the
corner of the first pixel is at 0, 0. A model has no metric scale and no times: frames are sorted by their names, which
may begin with a folder for each camera of a rig.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gld_ros.data.bad_frames import BadFrames
from gld_ros.data.formats.camera_models import known_model, pinhole
from gld_ros.data.formats.sequences import SequenceScenes
from gld_ros.data.reading import image_sizes, read_mask, read_rgb, read_text
from gld_ros.data.sequence import DEFAULT_CAMERA, Frame, Sequence, made_up_stamp
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import intrinsics
from gld_ros.geometry.distortion import Pinhole
from gld_ros.geometry.se3 import invert, pose_from_quaternion

log = logging.getLogger(__name__)

#: Where tools put models, below the folder of a scene.
PLACES = ("sparse/*", "sparse", "colmap/sparse/*", ".", "dense/sparse")
IMAGE_FOLDERS = ("images", "images_2", "images_4", "images_8", "input", ".")
#: Names by the numbers of binary files.
MODEL_NAMES = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV",
    "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE",
)  # fmt: skip


@dataclass(frozen=True)
class Lens:
    """A line of `cameras`. parameters: in COLMAP's order."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class Posed:
    """A line of `images`. pose: (4, 4) world to camera."""

    name: str
    lens: int
    pose: np.ndarray


class COLMAPScenes(SequenceScenes):
    """Folders with a COLMAP model."""

    expected = "sparse/0/cameras.bin or .txt"

    @staticmethod
    def accepts(path: Path) -> bool:
        return bool(model_folders(path))

    def open(self, path: Path) -> Sequence:
        return read_colmap(path, self.skip_bad_frames)


def model_folders(path: Path) -> list[Path]:
    """Folders with `cameras` and `images`, of the first of the usual places below `path` that has any."""
    for place in PLACES:
        folders = sorted(path.glob(place)) if "*" in place else [path / place]
        found = [folder for folder in folders if _file(folder, "cameras") and _file(folder, "images")]
        if found:
            return found
    return []


def read_colmap(path: str | Path, skip_bad_frames: bool = False) -> Sequence:
    """Read the COLMAP model of a folder, or the folder `sparse/0` itself; of several models the one of most images.

    Images that the model has no pose of are left out. Raises InvalidRequest naming the file and what is wrong.
    """
    path = Path(path)
    models = {folder: _images(folder) for folder in model_folders(path)}
    if not models:
        raise InvalidRequest(f"{path}: no COLMAP model (sparse/0/cameras.bin or .txt) is in it")
    folder = max(models, key=lambda model: len(models[model]))
    if len(models) > 1:
        others = ", ".join(f"{model} ({len(images)} images)" for model, images in models.items() if model != folder)
        log.warning("%s (%d images) is read; not read are %s", folder, len(models[folder]), others)
    images, lenses = sorted(models[folder], key=lambda image: image.name), _lenses(folder)
    if not images:
        raise InvalidRequest(f"{folder}: no image has a pose")
    root, shrunk = _image_root(path, folder, images[0].name)
    counts: dict[str, int] = {}
    bad, frames = BadFrames(skip_bad_frames), []
    for image in images:
        if image.lens not in lenses:
            raise InvalidRequest(f"{folder}: {image.name} is of camera {image.lens}, which cameras does not have")
        camera_name = str(PurePosixPath(image.name).parent).replace("/", "_")
        camera_name = DEFAULT_CAMERA if camera_name == "." else camera_name
        number = counts.get(camera_name, 0)
        counts[camera_name] = number + 1
        with bad.caught():
            frames.append(_frame(root, image, lenses[image.lens], shrunk, camera_name, number))
    bad.settle(str(folder), len(frames))
    return Sequence(path.resolve().name, path, frames, metric=False, timed=False)


def _frame(root: Path, image: Posed, lens: Lens, shrunk: int, camera_name: str, number: int) -> Frame:
    file = root / image.name
    where = str(file)
    if not file.is_file():
        raise InvalidRequest(f"{where} does not exist; the COLMAP model has a pose of it")
    full = lens.width, lens.height
    sizes = image_sizes(file, where)
    tolerance = 1 if shrunk > 1 else 1e-9
    fitting = [size for size in sizes if all(abs(full[k] / shrunk - size[k]) < tolerance for k in (0, 1))]
    if not fitting:
        stated = f"the COLMAP camera {full[0]}x{full[1]}" + f" / {shrunk}" * (shrunk > 1)
        raise InvalidRequest(f"{where}: {sizes[0][0]}x{sizes[0][1]} pixels, {stated}")
    model = _pinhole(lens, fitting[0], where)
    camera = model.camera(invert(image.pose)).check(where)
    mask = root.parent / "masks" / f"{image.name}.png"  # as COLMAP names them
    mask_file = mask if mask.is_file() else None

    def colour() -> np.ndarray:
        return model.apply(read_rgb(file, where, fitting[0], turn=True, masked=True), where)

    def usable() -> np.ndarray | None:
        found = read_mask(file, mask_file, fitting[0], turn=True)
        return None if found is None else model.apply_mask(found, where)

    return Frame(where, camera_name, made_up_stamp(number), camera, colour, read_mask=usable)


def _pinhole(lens: Lens, size: tuple[int, int], where: str) -> Pinhole:
    numbers = dict(zip(known_model(lens.model, where).parameters, lens.parameters, strict=True))
    focal = numbers.pop("f", None)
    fx, fy = (numbers.pop(key) if focal is None else focal for key in ("fl_x", "fl_y"))
    K = intrinsics(fx, fy, numbers.pop("cx"), numbers.pop("cy"))
    return pinhole(lens.model, K, numbers, (lens.width, lens.height), size, where)


def _image_root(path: Path, model: Path, name: str) -> tuple[Path, int]:
    """The folder that image names count from, and how many times its images are smaller than the cameras say."""
    above = [path, *(folder for folder in list(model.resolve().parents)[:3] if folder != path)]
    for folder in above:
        for below in IMAGE_FOLDERS:
            if (folder / below / name).is_file():
                return folder / below, int(below.partition("_")[2] or 1)
    raise InvalidRequest(f"{path}: a COLMAP model is in {model}, but {path / IMAGE_FOLDERS[0] / name} does not exist")


def _file(folder: Path, name: str) -> Path | None:
    candidates = (folder / f"{name}{suffix}" for suffix in (".bin", ".txt"))
    return next((file for file in candidates if file.is_file()), None)


def _lenses(folder: Path) -> dict[int, Lens]:
    file = _file(folder, "cameras")
    assert file is not None
    return dict(_parsed(file, _binary_lenses, _text_lenses))


def _images(folder: Path) -> list[Posed]:
    file = _file(folder, "images")
    assert file is not None
    return list(_parsed(file, _binary_images, _text_images))


def _parsed(file: Path, binary: Callable[[_Bytes, str], Any], text: Callable[[list[str], str], Any]) -> list[Any]:
    where = str(file)
    try:
        if file.suffix == ".txt":
            lines = [line for line in read_text(file).splitlines() if not line.startswith("#")]
            return list(text(lines, where))
        return list(binary(_Bytes(file.read_bytes()), where))
    except InvalidRequest:  # a ValueError, too
        raise
    except OSError as error:
        raise InvalidRequest(f"{where}: cannot be read ({error.strerror})") from None
    except (struct.error, ValueError, IndexError) as error:
        raise InvalidRequest(f"{where}: no COLMAP model ({error}); is it truncated?") from None


class _Bytes:
    """A binary file from its begin to its end."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        """The next values, little-endian, as `struct` writes their layout."""
        values = struct.unpack_from(f"<{layout}", self.content, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return values

    def skip(self, count: int) -> None:
        """Leave bytes out."""
        self.at += count
        if self.at > len(self.content):
            raise ValueError(f"it ends at byte {len(self.content)}, {self.at} are expected")

    def text(self) -> str:
        """Up to the next 0."""
        end = self.content.index(b"\0", self.at)
        text = self.content[self.at : end].decode()
        self.at = end + 1
        return text


def _binary_lenses(content: _Bytes, where: str) -> Iterator[tuple[int, Lens]]:
    for _ in range(content.take("Q")[0]):
        number, model, width, height = content.take("iiQQ")
        if not 0 <= model < len(MODEL_NAMES):
            raise InvalidRequest(f"{where}: camera {number} is of model {model}, 0 to {len(MODEL_NAMES) - 1} expected")
        name = MODEL_NAMES[model]
        count = len(known_model(name, f"{where}: camera {number}").parameters)
        yield number, Lens(name, width, height, content.take(f"{count}d"))


def _text_lenses(lines: list[str], where: str) -> Iterator[tuple[int, Lens]]:
    for line in lines:
        if not line.strip():
            continue
        number, name, width, height, *parameters = line.split()
        count = len(known_model(name, f"{where}: camera {number}").parameters)
        if len(parameters) != count:
            raise InvalidRequest(f"{where}: camera {number} has {len(parameters)} parameters, {name} has {count}")
        yield int(number), Lens(name, int(width), int(height), tuple(map(float, parameters)))


def _binary_images(content: _Bytes, where: str) -> Iterator[Posed]:
    for _ in range(content.take("Q")[0]):
        _, w, x, y, z, *position, lens = content.take("i7di")
        name = content.text()
        content.skip(content.take("Q")[0] * struct.calcsize("<ddq"))  # points of the image
        yield Posed(name, lens, pose_from_quaternion(position, (x, y, z, w), f"{where}: {name}"))


def _text_images(lines: list[str], where: str) -> Iterator[Posed]:
    rest = iter(lines)
    for line in rest:
        if not line.strip():
            continue
        _, w, x, y, z, *position, lens, name = line.split(maxsplit=9)
        next(rest, None)  # points of the image; the line may be empty
        pose = pose_from_quaternion([float(value) for value in position], [float(q) for q in (x, y, z, w)], where)
        yield Posed(name.strip(), int(lens), pose)
