# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Posed image sequences: the type every input is read into; folders with `transforms.json` are written here.

`formats.transforms_json` describes the layout of these folders and reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from gld_ros.data.reading import depth_image
from gld_ros.errors import InvalidRequest
from gld_ros.files import replacing_folder
from gld_ros.geometry.cameras import Camera
from gld_ros.views import SourceView

OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
FRAME_PERIOD = 0.1  # seconds between frames of a file without `timestamp`
FIRST_STAMP = 1_000_000_000  # ns; not 0, which ROS takes for "latest"
DEFAULT_CAMERA = "camera"


def made_up_stamp(number: float) -> int:
    """Nanoseconds of the frame `number` where no times are known."""
    return FIRST_STAMP + round(number * FRAME_PERIOD * 1e9)


@dataclass(frozen=True)
class Frame:
    """One posed image, its pixels loaded when asked for.

    name: where it comes from (file path or topic), for messages. camera_name: which camera of the rig took it.
    stamp: nanoseconds. camera: undistorted pinhole and pose, metric or not as the sequence says.
    read_image: () -> (H, W, 3) uint8 RGB. read_depth: () -> (H, W) float32 z-depth in the poses' unit, NaN unknown.
    read_mask: () -> (H, W) bool as in `SourceView.mask`, or None where nothing is excluded. skippable: errors of its
    pixels say how to leave it out.
    """

    ADVICE: ClassVar[str] = "--skip-bad-frames (skip_bad_frames=true in a line of data) leaves such frames out"

    name: str
    camera_name: str
    stamp: int
    camera: Camera
    read_image: Callable[[], np.ndarray] = field(repr=False)
    read_depth: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    read_mask: Callable[[], np.ndarray | None] | None = field(default=None, repr=False)
    skippable: bool = False

    def view(self) -> SourceView:
        """Load it; depth is unknown where the mask excludes. Raises InvalidRequest where the pixels are missing,
        unreadable or of another size."""
        try:
            image, depth = self.read_image(), self.read_depth() if self.read_depth else None
            mask = self.read_mask() if self.read_mask else None
        except InvalidRequest as error:
            raise InvalidRequest(f"{error}; {self.ADVICE}") if self.skippable else error from None
        if depth is not None and mask is not None:
            depth = np.where(mask, depth, np.float32(np.nan))
        return SourceView(image, self.camera, self.stamp, depth, mask)


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


def open_sequence(path: str | Path, **options: Any) -> Sequence:
    """Read one posed sequence: a path whose files tell which of `scenes.KINDS` it is, or `KIND:PATH?OPTION=VALUE`.

    options: of the kind, as in a line of data; None for those that are not given.
    Raises InvalidRequest naming the file and what is missing or wrong, and an option that the kind does not have.
    """
    from gld_ros.data.formats.sequences import SequenceScenes
    from gld_ros.data.scenes import open_scenes

    scenes = open_scenes(str(path), **{name: value for name, value in options.items() if value is not None})
    if not isinstance(scenes, SequenceScenes) or len(scenes) > 1:
        raise InvalidRequest(f"{path}: {len(scenes)} scenes, such as {scenes.names[0]}; one sequence is expected")
    return scenes.sequence(scenes.paths[0])


def write_folder(
    folder: str | Path,
    views: Iterable[SourceView],
    camera_names: list[str] | None = None,
    metric: bool | None = True,
    depth_unit: float = 0.001,
) -> Path:
    """Write `views` as a transforms.json folder that `read_folder` reads back, whole or not at all; returns
    the folder.

    Images and masks become PNG (nothing is lost); depth becomes uint16 PNG in steps of `depth_unit`, 0 where unknown or
    too far.
    Raises InvalidRequest where the folder already holds a sequence.
    """
    pictures = (Picture(view, camera_names[k] if camera_names else None) for k, view in enumerate(views))
    return write_pictures(folder, pictures, metric, depth_unit)


@dataclass(frozen=True)
class Picture:
    """A view to write, with its camera's name, and further pictures (H, W), uint8 or bool, by what they show."""

    view: SourceView
    camera_name: str | None = None
    further: dict[str, np.ndarray] = field(default_factory=dict)


def write_pictures(
    folder: str | Path, pictures: Iterable[Picture], metric: bool | None = True, depth_unit: float = 0.001
) -> Path:
    """`write_folder`, one picture after the other. Further ones are PNG, too; their keys are NAME_file_path."""
    folder = Path(folder)
    if (folder / "transforms.json").exists():
        raise InvalidRequest(f"{folder}: holds a sequence already, not overwriting it")
    with replacing_folder(folder) as new:
        _write(new, pictures, metric, depth_unit)
    return folder


def _write(folder: Path, pictures: Iterable[Picture], metric: bool | None, depth_unit: float) -> None:
    (folder / "images").mkdir()
    frames = []
    for index, picture in enumerate(pictures):
        view = picture.view
        camera, K = view.camera, view.camera.K
        entry: dict[str, Any] = {"file_path": f"images/{index:03d}.png", "w": camera.width, "h": camera.height}
        entry |= {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
        if view.stamp:
            entry["timestamp"] = view.stamp / 1e9
        if picture.camera_name is not None:
            entry["camera"] = picture.camera_name
        Image.fromarray(view.image).save(folder / entry["file_path"])
        if view.depth is not None:
            entry["depth_file_path"] = f"depth/{index:03d}.png"
            (folder / "depth").mkdir(exist_ok=True)
            save_depth_png(folder / entry["depth_file_path"], view.depth, depth_unit)
        if view.mask is not None:
            entry["mask_path"] = f"masks/{index:03d}.png"
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(view.mask).save(folder / entry["mask_path"])
        for name, pixels in picture.further.items():
            entry[f"{name}_file_path"] = f"{name}/{index:03d}.png"
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / entry[f"{name}_file_path"])
        entry["transform_matrix"] = (camera.c2w @ OPENGL_TO_OPENCV).tolist()
        frames.append(entry)
    content: dict[str, Any] = {"camera_model": "PINHOLE", "depth_unit_scale_factor": depth_unit, "frames": frames}
    if metric is not None:
        content["metric"] = metric
    (folder / "transforms.json").write_text(json.dumps(content, indent=1))


def save_depth_png(path: str | Path, depth: np.ndarray, unit: float = 0.001) -> None:
    """Write (H, W) depth as a uint16 PNG in steps of `unit`; 0 where it is NaN or does not fit."""
    depth_image(depth, unit).save(path)
