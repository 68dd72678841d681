# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Posed image sequences: the type every input is read into, and `transforms.json` folders read and written.

A folder holds `transforms.json` in the style of nerfstudio and instant-ngp: intrinsics `fl_x fl_y cx cy w h` (of the
file or of a frame; the corner of the first pixel is at 0, 0), `frames` with `file_path`, `transform_matrix`
(camera-to-world, OpenGL axes: x right, y up, z backward) and where known `depth_file_path` (uint16 PNG times
`depth_unit_scale_factor`, 0 = unknown), `timestamp` (seconds), `camera` and `time_index` (several cameras of one rig).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gld_ros.data.reading import depth_image, image_size, read_depth, read_json, read_rgb
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.distortion import Pinhole, undistort
from gld_ros.views import SourceView

OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
FRAME_PERIOD = 0.1  # seconds between frames of a file without `timestamp`
FIRST_STAMP = 1_000_000_000  # ns; not 0, which ROS takes for "latest"
DEFAULT_CAMERA = "camera"
SHRUNK_COPIES = (2, 4, 8)


def made_up_stamp(number: float) -> int:
    """Nanoseconds of the frame `number` where no times are known."""
    return FIRST_STAMP + round(number * FRAME_PERIOD * 1e9)


@dataclass(frozen=True)
class Frame:
    """One posed image, its pixels loaded when asked for.

    name: where it comes from (file path or topic), for messages. camera_name: which camera of the rig took it.
    stamp: nanoseconds. camera: undistorted pinhole and pose, metric or not as the sequence says.
    read_image: () -> (H, W, 3) uint8 RGB. read_depth: () -> (H, W) float32 z-depth in the poses' unit, NaN unknown.
    """

    name: str
    camera_name: str
    stamp: int
    camera: Camera
    read_image: Callable[[], np.ndarray] = field(repr=False)
    read_depth: Callable[[], np.ndarray] | None = field(default=None, repr=False)

    def view(self) -> SourceView:
        """Load it. Raises InvalidRequest where the pixels are missing, unreadable or of another size."""
        return SourceView(self.read_image(), self.camera, self.stamp, self.read_depth() if self.read_depth else None)


@dataclass(frozen=True)
class Sequence:
    """Posed frames of one or several cameras, in the order of the file (of time, for a bag).

    metric: True = poses and depth are in metres, False = they are not, None = the source does not say. A rosbag2 is
    metric (REP 103); a folder says it with `"metric": true | false`, and by having depth in metres
    (`depth_unit_scale_factor`). timed: the stamps are the source's own, not made up from the order of the file.
    """

    name: str
    path: Path
    frames: list[Frame]
    metric: bool | None = None
    timed: bool = True

    @property
    def camera_names(self) -> list[str]:
        """Names of the cameras in order of appearance."""
        return list(dict.fromkeys(frame.camera_name for frame in self.frames))

    @property
    def has_depth(self) -> bool:
        return any(frame.read_depth for frame in self.frames)

    @property
    def unit(self) -> str:
        """Unit of poses and depth, for people."""
        return "m" if self.metric else "units"

    def instants(self) -> list[list[Frame]]:
        """Frames grouped by stamp, in time order: what is published together."""
        by_stamp = attrgetter("stamp")
        return [list(frames) for _, frames in groupby(sorted(self.frames, key=by_stamp), by_stamp)]


def open_sequence(path: str | Path) -> Sequence:
    """Read a transforms.json folder (or the file itself) or a rosbag2 (folder, .mcap or .db3).

    Raises InvalidRequest naming the file and what is missing or wrong.
    """
    path = Path(path)
    if not path.exists():
        raise InvalidRequest(f"{path}: no such file or folder")
    if path.suffix == ".json" or (path / "transforms.json").exists():
        return read_folder(path)
    if path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").exists():
        from gld_ros.data.bag import read_bag

        return read_bag(path)
    raise InvalidRequest(f"{path}: neither transforms.json nor a rosbag2 (metadata.yaml, *.mcap, *.db3) is in it")


def read_folder(path: str | Path) -> Sequence:
    """Read a transforms.json folder; images are loaded on demand, everything else is checked now.

    Raises InvalidRequest naming the file, the frame and what was expected.
    """
    file = Path(path) if Path(path).suffix == ".json" else Path(path) / "transforms.json"
    content = read_json(file)
    entries = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidRequest(f"{file}: holds no frames; a non-empty list `frames` of objects is expected")
    counts: dict[str, int] = {}
    frames = []
    for index, entry in enumerate(entries):
        camera_name = str(entry.get("camera", DEFAULT_CAMERA))
        where = f"{file}: frame {index}"
        time_index = _number(entry, "time_index", where, default=counts.get(camera_name, 0))
        counts[camera_name] = counts.get(camera_name, 0) + 1
        frames.append(_read_frame(file.parent, {**content, **entry}, camera_name, time_index, where))
    metric = content.get("metric")
    if metric is None and "depth_unit_scale_factor" in content and any(frame.read_depth for frame in frames):
        metric = True
    timed = all("timestamp" in entry or "time_index" in entry for entry in entries)
    return Sequence(file.parent.resolve().name, file.parent, frames, metric, timed)


def _read_frame(folder: Path, entry: dict[str, Any], camera_name: str, time_index: float, where: str) -> Frame:
    image_path, shrunk = _image_file(folder, entry.get("file_path"), f"{where}: file_path")
    size = image_size(image_path, str(image_path))
    w, h = (_number(entry, key, where, default=size[k] * shrunk) for k, key in enumerate(("w", "h")))
    full = int(w), int(h)
    # Shrunk copies round their sizes.
    if any(abs(full[k] / shrunk - size[k]) >= (1 if shrunk > 1 else 1e-9) for k in (0, 1)):
        raise InvalidRequest(f"{image_path}: {size[0]}x{size[1]} pixels, transforms.json says {full[0]}x{full[1]}")
    model = _pinhole(entry, full, size, where)
    camera = model.camera(_pose(entry, where)).check(where)
    depth_path = None
    if entry.get("depth_file_path"):
        depth_path = _existing(folder, entry["depth_file_path"], f"{where}: depth_file_path")
    unit = _number(entry, "depth_unit_scale_factor", where, default=0.001)
    stamp = round(_number(entry, "timestamp", where) * 1e9) if "timestamp" in entry else made_up_stamp(time_index)

    def measured(path: Path) -> np.ndarray:
        return model.apply(read_depth(path, unit, str(path), size), where)

    return Frame(
        name=str(image_path),
        camera_name=camera_name,
        stamp=stamp,
        camera=camera,
        read_image=lambda: model.apply(read_rgb(image_path, str(image_path), size), where),
        read_depth=partial(measured, depth_path) if depth_path else None,
    )


def _existing(folder: Path, name: Any, where: str) -> Path:
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{where} is missing; the path of a file is expected")
    for candidate in (folder / name, folder / f"{name}.png"):
        if candidate.is_file():
            return candidate
    raise InvalidRequest(f"{where}: {folder / name} does not exist")


def _image_file(folder: Path, name: Any, where: str) -> tuple[Path, int]:
    """The image, and how many times smaller it is than `w` and `h` say: 1, or 2, 4, 8 where only a copy in
    `images_2`, `images_4`, `images_8` exists (nerfstudio, DL3DV).
    """
    path = Path(str(name))
    if isinstance(name, str) and path.parent.name == "images" and not (folder / path).is_file():
        for shrunk in SHRUNK_COPIES:
            copy = path.parent.with_name(f"images_{shrunk}") / path.name
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


def _intrinsics(entry: dict[str, Any], width: int, height: int, where: str) -> np.ndarray:
    if "fl_x" in entry:
        fx = _number(entry, "fl_x", where)
    elif "camera_angle_x" in entry:
        fx = 0.5 * width / math.tan(0.5 * _number(entry, "camera_angle_x", where))
    else:
        raise InvalidRequest(f"{where}: no intrinsics; fl_x, fl_y, cx, cy (pixels) are expected")
    rest = (("fl_y", fx), ("cx", width / 2), ("cy", height / 2))
    return intrinsics(fx, *(_number(entry, key, where, default) for key, default in rest))


def _pinhole(entry: dict[str, Any], full: tuple[int, int], size: tuple[int, int], where: str) -> Pinhole:
    """K undistorted by k1 k2 p1 p2 k3 (OPENCV) or k1 k2 k3 k4 (OPENCV_FISHEYE, EQUIDISTANT), where given.

    The numbers are of an image of `full` (width, height), the pinhole is of its copy of `size`.
    """
    stated = Camera(_intrinsics(entry, *full, where), np.eye(4), *full).check(where)
    kind = str(entry.get("camera_model", ""))
    fisheye = "FISHEYE" in kind or "EQUIDISTANT" in kind
    keys = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3")
    D = [_number(entry, key, where) if entry.get(key) else 0.0 for key in keys]
    return _undistorted(tuple(stated.resized(*size).K.ravel()), tuple(D), "fisheye" if fisheye else "plumb_bob", *size)


@lru_cache(maxsize=8)
def _undistorted(K: tuple[float, ...], D: tuple[float, ...], model: str, width: int, height: int) -> Pinhole:
    """One table for all frames of one lens: hundreds of them would fill the memory."""
    return undistort(np.reshape(K, (3, 3)), D, model, width, height, "transforms.json")


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


def write_folder(
    folder: str | Path,
    views: Iterable[SourceView],
    camera_names: list[str] | None = None,
    metric: bool | None = True,
    depth_unit: float = 0.001,
) -> Path:
    """Write `views` as a transforms.json folder that `read_folder` reads back; returns the folder.

    Images become PNG (nothing is lost); depth becomes uint16 PNG in steps of `depth_unit`, 0 where unknown or too far.
    Raises InvalidRequest where the folder already holds a sequence.
    """
    folder = Path(folder)
    if (folder / "transforms.json").exists():
        raise InvalidRequest(f"{folder}: holds a sequence already, not overwriting it")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    frames = []
    for index, view in enumerate(views):
        camera, K = view.camera, view.camera.K
        entry: dict[str, Any] = {"file_path": f"images/{index:03d}.png", "w": camera.width, "h": camera.height}
        entry |= {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
        if view.stamp:
            entry["timestamp"] = view.stamp / 1e9
        if camera_names:
            entry["camera"] = camera_names[index]
        Image.fromarray(view.image).save(folder / entry["file_path"])
        if view.depth is not None:
            entry["depth_file_path"] = f"depth/{index:03d}.png"
            (folder / "depth").mkdir(exist_ok=True)
            save_depth_png(folder / entry["depth_file_path"], view.depth, depth_unit)
        entry["transform_matrix"] = (camera.c2w @ OPENGL_TO_OPENCV).tolist()
        frames.append(entry)
    content: dict[str, Any] = {"camera_model": "PINHOLE", "depth_unit_scale_factor": depth_unit, "frames": frames}
    if metric is not None:
        content["metric"] = metric
    (folder / "transforms.json").write_text(json.dumps(content, indent=1))
    return folder


def save_depth_png(path: str | Path, depth: np.ndarray, unit: float = 0.001) -> None:
    """Write (H, W) depth as a uint16 PNG in steps of `unit`; 0 where it is NaN or does not fit."""
    depth_image(depth, unit).save(path)
