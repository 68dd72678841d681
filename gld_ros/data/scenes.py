# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes: what every data set is read as. A line of text opens one: `open_scenes("re10k:/data/RealEstate10K/train")`.

A text is `KIND:PATH?OPTION=VALUE&...`. The options are those of the kind's class; three are common to all:
`names=FILE` keeps the scenes listed in a split file (`splits.read_split`), `without=FILE` drops those, `limit=N` keeps
the first N.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from gld_ros.data.clips import Clip
from gld_ros.data.framing import make_clip
from gld_ros.data.sequence import Frame
from gld_ros.data.splits import read_split
from gld_ros.errors import InvalidRequest

log = logging.getLogger(__name__)

#: What goes through numbers of scenes and shows how far it is.
Progress = Callable[[Iterable[int]], Iterable[int]]

COMMON = ("names", "without", "limit")  # options of all kinds

#: Class of every kind, imported when one is opened.
KINDS = {
    "re10k": "realestate10k.RealEstate10K",
    "pixelsplat": "pixelsplat.PixelSplatChunks",
    "dl3dv": "transforms_json.Folders",
    "nerfstudio": "transforms_json.Folders",
    "colmap": "colmap.COLMAPScenes",
    "rosbag2": "bags.Bags",
    "gld-demo": "gld_demo.DemoScenes",
    "tum": "tum.TUMScenes",
    "euroc": "euroc.EuRoCScenes",
    "kitti": "kitti.KITTIScenes",
    "7scenes": "seven_scenes.SevenScenes",
    "scannet": "scannet.ScanNetScenes",
    "polycam": "polycam.PolycamScenes",
    "record3d": "record3d.Record3DScenes",
    "rooms": "rooms.RoomScenes",
    "shards": "shards.Shards",
}


class Scenes(ABC):
    """Scenes of one data set by number, read when asked for.

    names: of the scenes. one_camera: whether all frames of a scene must share K (one video of one lens).
    Raises InvalidRequest where there is no scene.
    """

    one_camera = False
    switches: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, names: Sequence[str], where: str) -> None:
        if not names:
            raise InvalidRequest(f"{where}: no scenes")
        self.names = names
        self.where = where
        self._numbers: dict[str, int] | None = None
        self._latest: tuple[int, list[Frame]] | None = None

    @abstractmethod
    def read(self, index: int) -> list[Frame]:
        """Cameras of a scene in time order, their pixels not yet loaded. Raises InvalidRequest for a bad scene."""

    def __len__(self) -> int:
        return len(self.names)

    def find(self, name: str) -> int | None:
        """The number of a scene by its name, or by the last part of it (`1K/abc`: lists of DL3DV say `abc`).

        None where it has no such scene.
        """
        if self._numbers is None:
            self._numbers = {known.split("/")[-1]: index for index, known in enumerate(self.names)}
            self._numbers |= {known: index for index, known in enumerate(self.names)}
        return self._numbers.get(name)

    def frames(self, index: int) -> list[Frame]:
        """The frames of `read`, checked for what the kind promises; the latest scene is remembered."""
        if self._latest is None or self._latest[0] != index:
            frames = self.read(index)
            if not frames:
                raise InvalidRequest(f"{self.names[index]}: no frames")
            if self.one_camera:
                _check_one_camera(frames, self.names[index])
            self._latest = index, frames
        return self._latest[1]

    def load(self, index: int, views: Sequence[int], size: tuple[int, int] | None = None) -> Clip:
        """The clip of these frames of a scene, in this order, at `size` (width, height; None: as they are).

        Raises InvalidRequest naming the scene or frame that is bad.
        """
        return make_clip(chosen(self.frames(index), views, self.names[index]), size, self.names[index])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_latest": None}  # frames hold closures, which no process can be sent


class Subset(Scenes):
    """Some scenes of others."""

    def __init__(self, scenes: Scenes, indices: Sequence[int], where: str) -> None:
        super().__init__([scenes.names[index] for index in indices], where)
        self.scenes, self.indices = scenes, list(indices)

    def read(self, index: int) -> list[Frame]:
        return self.scenes.frames(self.indices[index])

    def load(self, index: int, views: Sequence[int], size: tuple[int, int] | None = None) -> Clip:
        return self.scenes.load(self.indices[index], views, size)


def open_scenes(spec: str, **options: Any) -> Scenes:
    """Open `KIND:PATH?OPTION=VALUE&...`; `options` win over those in the text. A path alone is of the kind of sequence
    that its files tell.

    Raises InvalidRequest for an unknown kind or option, a missing path, and a data set (or split of it) without scenes.
    """
    place, settings = (spec, {}) if os.path.exists(spec) else parse(spec)
    settings |= options
    kind, colon, path = place.partition(":")
    if os.path.exists(place):
        kind, path = kind_of(Path(place)), place
    elif not colon:
        raise InvalidRequest(f"{place}: no such file or folder")
    elif kind not in KINDS:
        raise InvalidRequest(f"data {spec!r}: unknown kind {kind!r}, one of {', '.join(KINDS)} is expected")
    common = {key: settings.pop(key, None) for key in COMMON}
    return _narrowed(make_scenes(scenes_class(kind), path, settings, f"{path} ({kind})"), spec, **common)


def kind_of(path: Path) -> str:
    """The kind of a sequence, or of the first one in a folder. Raises InvalidRequest where there is none."""
    from gld_ros.data.formats.sequences import SequenceScenes

    classes = {scenes_class(kind): kind for kind in KINDS}
    sequences = {scenes: kind for scenes, kind in classes.items() if issubclass(scenes, SequenceScenes)}
    below = (folder for pattern in ("*", "*/*") for folder in sorted(path.glob(pattern)) if folder.is_dir())
    for place in chain((path,), below):
        for scenes, kind in sequences.items():
            if scenes.accepts(place):
                return kind
    known = "; ".join(f"{scenes.expected} ({kind})" for scenes, kind in sequences.items())
    raise InvalidRequest(f"{path}: no sequence; its files are none of {known}")


def make_scenes(factory: type[Any], path: str | Path, options: dict[str, Any], where: str) -> Any:
    """Scenes of a class; its options are those of its constructor and its `switches`, attributes that are set after.

    Raises InvalidRequest for an option that it does not have.
    """
    known = [*list(inspect.signature(factory).parameters)[1:], *factory.switches]
    for key in options:
        if key not in known:
            expected = ", ".join([*known, *COMMON])
            raise InvalidRequest(f"{where}: unknown option {key!r}, one of {expected} is expected")
    scenes = factory(path, **{key: value for key, value in options.items() if key not in factory.switches})
    for key in factory.switches & options.keys():
        if not isinstance(options[key], bool):
            raise InvalidRequest(f"{where}: {key} is {options[key]!r}, true or false is expected")
        setattr(scenes, key, options[key])
    return scenes


def scenes_class(kind: str) -> type[Any]:
    """The class of a kind."""
    module, name = KINDS[kind].split(".")
    return cast(type[Any], getattr(import_module(f"gld_ros.data.formats.{module}"), name))


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """`KIND:PATH` and the options of a line; numbers and lists become such."""
    place, _, query = spec.partition("?")
    return place, dict(_option(part, spec) for part in query.split("&") if part)


def existing_folder(path: str | Path) -> Path:
    """`path`, or InvalidRequest where it is no folder."""
    if not Path(path).is_dir():
        raise InvalidRequest(f"{path}: no such folder")
    return Path(path)


def chosen(frames: Sequence[Frame], views: Sequence[int], name: str) -> list[Frame]:
    """These frames of a scene. Raises InvalidRequest for a number that it does not have."""
    wrong = [view for view in views if not 0 <= view < len(frames)]
    if wrong or not views:
        raise InvalidRequest(f"{name}: frames {wrong or 'none'} asked for, it has 0..{len(frames) - 1}")
    return [frames[view] for view in views]


def _option(text: str, spec: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(f"data {spec!r}: option {text!r}, NAME=VALUE is expected")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _narrowed(scenes: Scenes, spec: str, names: str | None, without: str | None, limit: int | None) -> Scenes:
    kept: Sequence[int] = range(len(scenes))
    if names is not None:
        found = {scenes.find(entry.scene) for entry in read_split(names)}
        kept = sorted(index for index in found if index is not None)
    if without is not None:
        dropped = {scenes.find(entry.scene) for entry in read_split(without, empty=True)}
        kept = [index for index in kept if index not in dropped]
    kept = kept[:limit]
    return scenes if len(kept) == len(scenes) else Subset(scenes, kept, f"data {spec!r}")


def _check_one_camera(frames: Sequence[Frame], name: str) -> None:
    first = frames[0].camera
    for frame in frames:
        camera = frame.camera
        same_size = (camera.width, camera.height) == (first.width, first.height)
        if not same_size or not np.allclose(camera.K, first.K, rtol=1e-3):
            raise InvalidRequest(f"{name}: mixed intrinsics; {frame.name} has another K than {frames[0].name}")


class Skipped:
    """Scenes that were skipped, with reasons; each is logged once.

    file: a JSON-lines file that all processes (loader workers, ranks) append to, so that everybody's `scenes` are all
    of them; without one they are those of this process.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        self.file = None if file is None else Path(file)
        self._reasons: dict[str, str] = {}

    def add(self, scene: str, reason: str) -> None:
        """Note that `scene` was skipped."""
        if scene in self._reasons:
            return
        self._reasons[scene] = reason
        log.warning("skipped %s: %s", scene, reason)
        if self.file is not None:
            # One short line a write: appends of several processes do not mix.
            with self.file.open("a") as stream:
                stream.write(json.dumps({"scene": scene, "reason": reason}) + "\n")

    @property
    def scenes(self) -> dict[str, str]:
        """Scene -> the first reason."""
        reasons = dict(self._reasons)
        if self.file is not None and self.file.exists():
            for line in self.file.read_text().splitlines():
                entry = json.loads(line)
                reasons.setdefault(entry["scene"], entry["reason"])
        return reasons

    def __len__(self) -> int:
        return len(self.scenes)

    def __str__(self) -> str:
        scenes = self.scenes
        lines = [f"skipped {len(scenes)} scenes" + ":" * bool(scenes)]
        return "\n".join(lines + [f"  {scene}: {reason}" for scene, reason in scenes.items()])
