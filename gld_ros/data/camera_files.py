# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files of cameras to ask for: cameras.json of `gld scene`, transforms.json, and the JSON of the official Gen3R."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.data.sequence import OPENGL_TO_OPENCV
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera, intrinsics
from gld_ros.geometry.se3 import invert

#: Pixels of the official Gen3R's frames, which its intrinsics count.
OFFICIAL_SIZE = 560


def read_cameras(path: Path, first: Camera) -> list[Camera]:
    """The cameras of a file, in the world of the sequence whose first source is `first`.

    Those of the official Gen3R have a world of their own: their first one is put where `first` is, and left out.
    Raises InvalidRequest that names the file and what was expected.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path}: not readable JSON ({error})") from None
    readers = {"cameras": _own, "frames": _nerfstudio, "extrinsics": _official}
    key = next((key for key in readers if isinstance(content, dict) and key in content), None)
    if key is None:
        found = ", ".join(list(content)[:6]) if isinstance(content, dict) else type(content).__name__
        raise InvalidRequest(
            f"{path}: has {found}; expected 'cameras' (cameras.json of gld scene), 'frames' (transforms.json) or "
            "'extrinsics' and 'intrinsics' (Gen3R: world to camera)"
        )
    try:
        cameras = readers[key](content, first)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"{path}: {type(error).__name__}: {error}") from None
    if not cameras:
        raise InvalidRequest(f"{path}: no cameras to ask for")
    return [camera.check(f"{path}: camera {k}") for k, camera in enumerate(cameras)]


def _own(content: dict[str, Any], first: Camera) -> list[Camera]:
    rows = [row for row in content["cameras"] if not str(row.get("name", "")).startswith("source")]
    return [Camera(np.array(row["K"]), np.array(row["c2w"]), int(row["width"]), int(row["height"])) for row in rows]


def _nerfstudio(content: dict[str, Any], first: Camera) -> list[Camera]:
    cameras = []
    for frame in content["frames"]:
        value = {**content, **frame}
        K = intrinsics(*(float(value[name]) for name in ("fl_x", "fl_y", "cx", "cy")))
        c2w = np.array(frame["transform_matrix"], float) @ OPENGL_TO_OPENCV
        cameras.append(Camera(K, c2w, int(value["w"]), int(value["h"])))
    return cameras


def _official(content: dict[str, Any], first: Camera) -> list[Camera]:
    w2c, K = np.array(content["extrinsics"], float), np.array(content["intrinsics"], float)
    if w2c.ndim != 3 or w2c.shape[1:] != (4, 4) or K.shape != (len(w2c), 3, 3):
        raise ValueError(f"extrinsics {w2c.shape} and intrinsics {K.shape}, expected (F, 4, 4) and (F, 3, 3)")
    c2w = [first.c2w @ w2c[0] @ invert(pose) for pose in w2c[1:]]
    return [Camera(k, pose, OFFICIAL_SIZE, OFFICIAL_SIZE) for k, pose in zip(K[1:], c2w, strict=True)]
