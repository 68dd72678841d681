# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of the official demo (and of its DL3DV copy): `SCENE/nerfstudio/images_*/NAME.png` beside `NAME.npz`.

An npz holds `intrinsic` (3, 3) in pixels of its image and `pose` (4, 4) camera to world, OpenCV axes. The
transforms.json beside them is empty.
"""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from gld_ros.data.reading import image_size, read_rgb
from gld_ros.data.scenes import Scenes, existing_folder
from gld_ros.data.sequence import DEFAULT_CAMERA, Frame, made_up_stamp
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera

IMAGES = "nerfstudio/images_*"


class DemoScenes(Scenes):
    """Scenes of a folder in the layout of the official demo; frames in the order of their names."""

    def __init__(self, path: str | Path) -> None:
        self.root = existing_folder(path)
        folders = {folder.parents[1].name: folder for folder in sorted(self.root.glob(f"*/{IMAGES}"))}
        self.folders = list(folders.values())
        super().__init__(list(folders), f"{path} (*/{IMAGES})")

    def read(self, index: int) -> list[Frame]:
        images = sorted(self.folders[index].glob("*.png"))
        return [_frame(path, number) for number, path in enumerate(images)]


def _frame(path: Path, number: int) -> Frame:
    file = path.with_suffix(".npz")
    size = image_size(path, str(path))
    try:
        with np.load(file) as content:
            K, c2w = content["intrinsic"], content["pose"]
    except FileNotFoundError:
        raise InvalidRequest(f"{file} does not exist: {path.name} has no pose") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidRequest(f"{file}: intrinsic and pose are expected ({error})") from None
    if K.shape != (3, 3) or c2w.shape != (4, 4):
        raise InvalidRequest(f"{file}: intrinsic {K.shape} and pose {c2w.shape}, (3, 3) and (4, 4) are expected")
    camera = Camera(K, c2w, *size).check(str(file))
    return Frame(str(path), DEFAULT_CAMERA, made_up_stamp(number), camera, partial(read_rgb, path, str(path), size))
