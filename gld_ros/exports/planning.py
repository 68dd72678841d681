# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The request that makes a scene: the views of a sequence that the model is given, and the cameras of a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.data.camera_files import read_cameras
from gld_ros.data.sequence import Sequence as PosedSequence
from gld_ros.errors import InvalidRequest, ScaleUnknown
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import overlap
from gld_ros.geometry.se3 import interpolate_pose
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.scene.camera_paths import PATHS, camera_path
from gld_ros.views import SourceView

#: Share of what cameras look at that the given views see: below, they look away; above, towards the same.
AWAY, TOWARDS = 0.1, 0.5
#: Views along a path of a model that makes no clips.
VIEWS = 24
#: Paths beside those of `camera_paths`, and the path of each task unless another one is asked for.
BETWEEN, GIVEN, FREE = "between", "given", "free"
DEFAULTS = {"1view": "orbit", "2view": BETWEEN, "allview": GIVEN}


@dataclass(frozen=True)
class Plan:
    """A request that makes a scene. path: its name, or that of the file of cameras."""

    sources: list[SourceView]
    targets: list[Camera]
    options: dict[str, Any]
    path: str


def plan(
    sequence: PosedSequence,
    pipe: GLDPipeline,
    task: str,
    frames: Sequence[int] | None,
    path: str | None,
    file: Path | None,
    views: int | None,
    distance: float | None,
    size: tuple[int, int] | None,
    options: Mapping[str, str],
) -> Plan:
    """The request for a task. Options of the model come as text. Raises InvalidRequest."""
    name = path or DEFAULTS[task]
    if path and file:
        raise InvalidRequest(f"a path ({path}) and a file of cameras ({file}): one of them is expected")
    if views is not None and (file or views < 1):
        raise InvalidRequest(
            f"{views} views: " + ("the file of cameras says how many" if file else "expected at least 1")
        )
    if distance is not None and (file or name in (BETWEEN, GIVEN, FREE)):
        raise InvalidRequest(f"a distance sizes the paths {', '.join(PATHS)}; this one is {file or name}")
    clips = pipe.generator.limits.all_frames
    given: dict[str, Any] = dict(options)
    pipe.generator.check_options(given)
    clip = pipe.generator.together(1, given) if clips else 0
    chosen = _chosen(len(sequence.frames), task, frames, clip, pipe.max_sources)
    sources = [sequence.frames[k].view() for k in chosen]
    size = size or pipe.generator.working_size(sources[0].camera)
    first = pipe.generator.framed(sources[0].camera, size)
    count = views or (len(sources) if clips and len(sources) == clip else (clip or VIEWS + len(sources)) - len(sources))
    if file:
        targets = read_cameras(file, sources[0].camera)
        _refuse_inverse(file, targets, [source.camera for source in sources])
        return Plan(sources, targets, given, str(file))
    if name == FREE:
        given["free"] = True
        targets = [first] * count
    elif name == GIVEN:
        places = np.unique(np.linspace(0, len(sequence.frames) - 1, count).round().astype(int))
        own = chosen if clips and len(chosen) == clip else places
        targets = [pipe.generator.framed(sequence.frames[k].camera, size) for k in own]
    elif name == BETWEEN:
        if len(sources) < 2:
            raise InvalidRequest(f"path '{BETWEEN}' needs two views, '{task}' gives {len(sources)}")
        ends = sources[0].camera.c2w, sources[-1].camera.c2w
        targets = [first.moved(interpolate_pose(*ends, (k + 1) / (count + 1))) for k in range(count)]
    elif name in PATHS:
        away = _distance(pipe, sources) if distance is None else distance
        targets = [first.moved(c2w) for c2w in camera_path(name, first.c2w, count, away)]
    else:
        raise InvalidRequest(f"camera path is '{name}', expected one of {', '.join([*PATHS, BETWEEN, GIVEN, FREE])}")
    return Plan(sources, targets, given, name)


def _chosen(count: int, task: str, frames: Sequence[int] | None, clip: int, most: int) -> list[int]:
    """The frames of a sequence of `count` that are given. clip: frames of a clip of the model, 0 for none."""
    wanted = {"1view": 1, "2view": 2, "allview": clip or min(count, most)}[task]
    if frames is not None:
        if len(frames) != wanted and (task != "allview" or clip):
            raise InvalidRequest(f"{len(frames)} frames are given, '{task}' takes {wanted}")
        if outside := [k for k in frames if not 0 <= k < count]:
            raise InvalidRequest(f"frame {outside[0]} does not exist, the sequence has the frames 0 to {count - 1}")
        return list(frames)
    if wanted > count:
        raise InvalidRequest(
            f"'{task}' takes {wanted} frames, the sequence has {count}; a Gen3R takes --option frames=N"
        )
    return [int(k) for k in np.linspace(0, count - 1, wanted).round()] if wanted > 1 else [0]


def _distance(pipe: GLDPipeline, sources: Sequence[SourceView]) -> float:
    """Median depth of the first source: by its sensor, else as the model finds it; 1 where nothing tells."""
    depth = sources[0].measured
    if depth is None:
        try:
            found = pipe.observed_depth(sources)
        except ScaleUnknown:
            found = []
        depth = found[0].depth if found else None
    return 1.0 if depth is None or not np.isfinite(depth).any() else float(np.nanmedian(depth))


def _refuse_inverse(file: Path, targets: Sequence[Camera], sources: Sequence[Camera]) -> None:
    """Raise InvalidRequest if a file's cameras look away from the sources, and their inverses do not."""
    seen = np.mean([overlap(sources, camera) for camera in targets])
    inverse = np.mean([overlap(sources, camera.moved(camera.w2c)) for camera in targets])
    if seen < AWAY and inverse > TOWARDS:
        raise InvalidRequest(
            f"{file}: its cameras look away from the given views, their inverses do not: are c2w and w2c mixed up?"
        )
