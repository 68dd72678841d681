# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Folders with `transforms.json` in the style of nerfstudio and instant-ngp.

The file holds `frames`, each with `file_path` and `transform_matrix` (camera-to-world, OpenGL axes: x right, y up, z
backward). These keys may be the file's or a frame's, which wins:

* `fl_x fl_y cx cy w h` (the corner of the first pixel is at 0, 0), or a field of view: `camera_angle_x`,
  `camera_angle_y` (radians), `x_fov`, `y_fov` (degrees);
* `camera_model` (a name of `camera_models.MODELS`) or `is_fisheye`, and the coefficients of that model;
* `depth_file_path` (uint16 PNG, float TIFF or .npy) times `depth_unit_scale_factor`, 0 or NaN = unknown; the depth may
  be smaller or larger than the image, of the same field of view;
* `mask_path`: pixels of 0 are excluded, as are transparent ones of the image; of any size, as the depth;
* `timestamp` (seconds, or `timestamp_unit`: s, ms, us, ns), `camera`, `time_index` (several cameras of one rig).

`"metric": true | false` says whether poses and depth are metres. Keys that bend rays in ways that no model here has are
refused, unknown ones that look like it, too; others that are neither used nor known to be harmless are named in a
warning.
"""

from __future__ import annotations

import logging
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.data.bad_frames import BadFrames
from gld_ros.data.formats.camera_models import COEFFICIENTS, pinhole
from gld_ros.data.formats.sequences import SequenceScenes
from gld_ros.data.reading import image_sizes, read_depth, read_json, read_mask, read_rgb
from gld_ros.data.sequence import DEFAULT_CAMERA, OPENGL_TO_OPENCV, Frame, Sequence, made_up_stamp
from gld_ros.data.tables import nanoseconds
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import intrinsics
from gld_ros.geometry.distortion import Pinhole

log = logging.getLogger(__name__)

SHRUNK_COPIES = (2, 4, 8)
FOCAL = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y", "x_fov", "y_fov")
DEPTH_FILES = ("depth_file_path", "depth_path")  # nerfstudio, instant-ngp
DEPTH_UNITS = ("depth_unit_scale_factor", "integer_depth_scale")
#: Keys of other projections and shutters: nothing but 0, false, null or an empty list can be read.
REFUSED = (
    *(f"ftheta_p{number}" for number in range(5)), "latlong", "equirectangular", "is_equirectangular",
    "orthographic", "rolling_shutter", "distortion_params", "lens", "fisheye_crop_radius", "crop", "crop_x", "crop_y",
)  # fmt: skip
READ = (
    "frames", "file_path", "transform_matrix", "cx", "cy", "w", "h", "camera_model", "is_fisheye", "timestamp",
    "timestamp_unit", "camera", "time_index", "metric", "mask_path", *FOCAL, *DEPTH_FILES, *DEPTH_UNITS, *COEFFICIENTS,
    *REFUSED,
)  # fmt: skip
#: Unknown keys that are likely to change rays or pixels: coefficients of a lens, what is cut off, turned or painted.
CHANGES_PIXELS = re.compile(
    r"^([kpsb]_?\d+|s[xy]_?\d+|tau_?[xy]?|xi|alpha|beta|omega|gamma|skew)$"
    r"|mask|distort|lens_|crop|fisheye|shutter|vignett|flip|mirror|projection|pixel_aspect|principal"
)
#: Keys that change neither rays nor pixels: bookkeeping, the box and scale of a renderer, splits, sparse points.
HARMLESS = (
    "aabb", "aabb_scale", "applied_scale", "applied_transform", "auto_scale_poses_override", "camera_id",
    "camera_label", "colmap_im_id", "colmap_image_id", "comment", "confidence_file_path", "dataset",
    "enable_depth_loading", "from_na", "generated_file_path", "id",
    "image_id", "name", "normal_file_path", "offset", "orientation_override", "original_fn", "ply_file_path",
    "render_aabb", "rotation", "scale", "sharpness", "sky_mask_path", "source", "source_file", "test_filenames",
    "train_filenames", "up", "val_filenames", "version",
)  # fmt: skip


class Folders(SequenceScenes):
    """Folders with transforms.json; names go without `nerfstudio`."""

    expected = "transforms.json"

    @staticmethod
    def accepts(path: Path) -> bool:
        return path.suffix == ".json" or (path / "transforms.json").exists()

    def open(self, path: Path) -> Sequence:
        return read_folder(path, self.skip_bad_frames)

    def find_sequences(self, root: Path) -> list[tuple[str, Path]]:
        return [(name.removesuffix("/nerfstudio"), path) for name, path in super().find_sequences(root)]


def read_folder(path: str | Path, skip_bad_frames: bool = False) -> Sequence:
    """Read a transforms.json folder; images are loaded on demand, everything else is checked now.

    Raises InvalidRequest naming the file, the frame and what was expected.
    """
    file = Path(path) if Path(path).suffix == ".json" else Path(path) / "transforms.json"
    content = read_json(file)
    entries = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidRequest(f"{file}: holds no frames; a non-empty list `frames` of objects is expected")
    _warn_of_unused([content, *entries], str(file))
    counts: dict[str, int] = {}
    bad, frames = BadFrames(skip_bad_frames), []
    for index, entry in enumerate(entries):
        camera_name = str(entry.get("camera", DEFAULT_CAMERA))
        where = f"{file}: frame {index}"
        number = counts.get(camera_name, 0)
        counts[camera_name] = number + 1
        common = content
        if any(key in entry for key in FOCAL):
            common = {key: value for key, value in content.items() if key not in FOCAL}
        with bad.caught():
            frames.append(_read_frame(file.parent, {**common, **entry}, camera_name, number, where))
    bad.settle(str(file), len(frames))
    metric = content.get("metric")
    if metric is None and DEPTH_UNITS[0] in content and any(frame.read_depth for frame in frames):
        metric = True
    timed = all("timestamp" in entry or "time_index" in entry for entry in entries)
    return Sequence(file.parent.resolve().name, file.parent, frames, metric, timed)


def _warn_of_unused(entries: list[dict[str, Any]], where: str) -> None:
    unused = sorted({key for entry in entries for key in entry if entry[key] is not None} - {*READ, *HARMLESS})
    bending = [
        key for key in unused
        if CHANGES_PIXELS.search(key.lower()) and any(_says_something(entry.get(key)) for entry in entries)
    ]  # fmt: skip
    if bending:
        raise InvalidRequest(
            f"{where}: keys that seem to change rays or pixels, and that cannot be read: {', '.join(bending)}; "
            f"{', '.join((*COEFFICIENTS, 'mask_path'))} are known"
        )
    if unused:
        log.warning("%s: keys that are not used: %s", where, ", ".join(unused))


def _says_something(value: Any) -> bool:
    """False for 0, false, null, and lists of these."""
    return any(value) if isinstance(value, list) else bool(value)


def _read_frame(folder: Path, entry: dict[str, Any], camera_name: str, number: int, where: str) -> Frame:
    image_path, shrunk = _image_file(folder, entry.get("file_path"), f"{where}: file_path")
    full, size = _sizes(image_path, entry, shrunk, where)
    model = _pinhole(entry, full, size, where)
    camera = model.camera(_pose(entry, where)).check(where)
    depth_key = next((key for key in DEPTH_FILES if entry.get(key)), None)
    depth_path = _existing(folder, entry[depth_key], f"{where}: {depth_key}") if depth_key else None
    mask_path = _image_file(folder, entry["mask_path"], f"{where}: mask_path")[0] if entry.get("mask_path") else None
    units = [_number(entry, key, where) for key in DEPTH_UNITS if key in entry]
    unit = units[0] if units else None
    time_index = _number(entry, "time_index", where, default=number)
    stamp = _stamp(entry, where) if "timestamp" in entry else made_up_stamp(time_index)

    def measured(path: Path) -> np.ndarray:
        return model.apply(read_depth(path, unit, str(path), size), where)

    def usable() -> np.ndarray | None:
        mask = read_mask(image_path, mask_path, size, turn=True)
        return None if mask is None else model.apply_mask(mask, where)

    return Frame(
        name=str(image_path),
        camera_name=camera_name,
        stamp=stamp,
        camera=camera,
        read_image=lambda: model.apply(read_rgb(image_path, str(image_path), size, turn=True, masked=True), where),
        read_depth=partial(measured, depth_path) if depth_path else None,
        read_mask=usable,
    )


def _sizes(image: Path, entry: dict[str, Any], shrunk: int, where: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) that the numbers are of, and that of the image: as stored, or as its EXIF orientation turns it
    where only that fits.
    """
    sizes = image_sizes(image, str(image))
    w, h = (_number(entry, key, where, default=sizes[0][k] * shrunk) for k, key in enumerate(("w", "h")))
    full = int(w), int(h)
    # Shrunk copies round their sizes.
    tolerance = 1 if shrunk > 1 else 1e-9
    for size in sizes:
        if all(abs(full[k] / shrunk - size[k]) < tolerance for k in (0, 1)):
            return full, size
    found = " or, turned by its EXIF orientation, ".join(f"{width}x{height}" for width, height in sizes)
    raise InvalidRequest(f"{image}: {found} pixels, transforms.json says {full[0]}x{full[1]}")


def _existing(folder: Path, name: Any, where: str) -> Path:
    """The file, or the same with .png; where neither exists, backslashes are those of Windows."""
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{where} is missing; the path of a file is expected")
    for spelling in (name, name.replace("\\", "/")):
        for candidate in (folder / spelling, folder / f"{spelling}.png"):
            if candidate.is_file():
                return candidate
    raise InvalidRequest(f"{where}: {folder / name} does not exist")


def _image_file(folder: Path, name: Any, where: str) -> tuple[Path, int]:
    """The image, and how many times smaller it is than `w` and `h` say: 1, or 2, 4, 8 where only a copy exists
    in `images_2`, `images_4` or `images_8` (nerfstudio, DL3DV); so with masks.
    """
    path = Path(str(name) if (folder / str(name)).is_file() else str(name).replace("\\", "/"))
    if isinstance(name, str) and path.parent.name and not (folder / path).is_file():
        for shrunk in SHRUNK_COPIES:
            copy = path.parent.with_name(f"{path.parent.name}_{shrunk}") / path.name
            if (folder / copy).is_file():
                return folder / copy, shrunk
    return _existing(folder, name, where), 1


def _number(entry: dict[str, Any], key: str, where: str, default: float | None = None) -> float:
    """default: where the entry has no such key; without one it is an error."""
    try:
        value = float(entry[key] if default is None else entry.get(key, default))
    except (KeyError, TypeError, ValueError):
        raise InvalidRequest(f"{where}: {key} is {entry.get(key)!r}, a number is expected") from None
    if not math.isfinite(value):
        raise InvalidRequest(f"{where}: {key} is {value}, a finite number is expected")
    return value


def _stamp(entry: dict[str, Any], where: str) -> int:
    """Nanoseconds; whole numbers keep all their digits."""
    _number(entry, "timestamp", where)
    return nanoseconds(entry["timestamp"], entry.get("timestamp_unit", "s"), where, "timestamp_unit")


def _intrinsics(entry: dict[str, Any], width: int, height: int, where: str) -> np.ndarray:
    fx, fy = _focal(entry, "xy", width, where), _focal(entry, "yx", height, where)
    known = [focal for focal in (fx, fy) if focal is not None]
    if not known:
        raise InvalidRequest(f"{where}: no intrinsics; fl_x, fl_y, cx, cy (pixels) are expected")
    centre = (_number(entry, key, where, extent / 2) for key, extent in (("cx", width), ("cy", height)))
    return intrinsics(known[0], known[-1], *centre)


def _focal(entry: dict[str, Any], axes: str, extent: int, where: str) -> float | None:
    """Pixels along the first of the axes; None where only the other one has a focal length, or none has."""
    axis = axes[0]
    if f"fl_{axis}" in entry:
        return _number(entry, f"fl_{axis}", where)
    for key, radians in ((f"camera_angle_{axis}", 1.0), (f"{axis}_fov", math.pi / 180)):
        # A focal length in pixels says more than the field of view along the other axis.
        if key in entry and f"fl_{axes[1]}" not in entry:
            angle = _number(entry, key, where) * radians
            if not 0 < angle < math.pi:
                raise InvalidRequest(f"{where}: {key} is {entry[key]}, an angle between 0 and 180 degrees is expected")
            return 0.5 * extent / math.tan(0.5 * angle)
    return None


def _model_name(entry: dict[str, Any], where: str) -> str:
    stated, fisheye = entry.get("camera_model"), entry.get("is_fisheye")
    if fisheye not in (None, False, True):
        raise InvalidRequest(f"{where}: is_fisheye is {fisheye!r}, true or false is expected")
    if stated is None:
        return "OPENCV_FISHEYE" if fisheye else "OPENCV"
    name = str(stated).upper()
    bent = "FISHEYE" in name or "EQUIDISTANT" in name
    if fisheye is not None and bool(fisheye) != bent:
        if fisheye and name == "PINHOLE":  # written by default
            return "OPENCV_FISHEYE"
        raise InvalidRequest(
            f"{where}: is_fisheye is {str(bool(fisheye)).lower()} and camera_model {stated!r}, which contradict each "
            "other; one of them is expected"
        )
    return name


def _pinhole(entry: dict[str, Any], full: tuple[int, int], size: tuple[int, int], where: str) -> Pinhole:
    """The undistorted pinhole of the lens. The numbers are of an image of `full` (width, height), the pinhole is of its
    copy of `size`.
    """
    for key in REFUSED:
        if _says_something(entry.get(key)):
            raise InvalidRequest(f"{where}: {key} is {entry[key]!r}; images that it changes cannot be read")
    name = _model_name(entry, where)
    D = {key: _number(entry, key, where) for key in COEFFICIENTS if entry.get(key)}
    return pinhole(name, _intrinsics(entry, *full, where), D, full, size, where)


def _pose(entry: dict[str, Any], where: str) -> np.ndarray:
    try:
        pose = np.array(entry["transform_matrix"], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        raise InvalidRequest(f"{where}: transform_matrix is missing or not numbers, 4 x 4 is expected") from None
    if pose.shape == (3, 4):
        pose = np.vstack([pose, [0, 0, 0, 1.0]])
    if pose.shape != (4, 4):
        raise InvalidRequest(f"{where}: transform_matrix has the shape {pose.shape}, 4 x 4 is expected")
    return pose @ OPENGL_TO_OPENCV
