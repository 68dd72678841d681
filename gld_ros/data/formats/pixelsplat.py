# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Chunks of pixelSplat and MVSplat: `.torch` files that hold a list of scenes each, beside an `index.json`.

A scene is a dict: `key` (its name), `cameras` (N, 18) float32 with fx, fy, cx, cy as shares of the size, two zeros and
world to camera (3 x 4 by rows, OpenCV axes), `images`: N uint8 tensors with the bytes of a JPEG each, `timestamps` (N,)
microseconds. `index.json` says which chunk a scene is in; without it every chunk is opened once.
"""

from __future__ import annotations

import pickle
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gld_ros.data.formats.realestate10k import normalised_camera
from gld_ros.data.reading import image_size, read_json, read_rgb
from gld_ros.data.scenes import Scenes, existing_folder
from gld_ros.data.sequence import DEFAULT_CAMERA, Frame, made_up_stamp
from gld_ros.errors import InvalidRequest


class PixelSplatChunks(Scenes):
    """Scenes of a folder of `.torch` chunks."""

    one_camera = True

    def __init__(self, path: str | Path) -> None:
        self.root = existing_folder(path)
        self.chunks = self._index()
        super().__init__(list(self.chunks), f"{path} (*.torch)")

    def _index(self) -> dict[str, str]:
        """Scene -> file name of its chunk."""
        file = self.root / "index.json"
        if not file.exists():
            chunks = sorted(chunk.name for chunk in self.root.glob("*.torch"))
            return {scene["key"]: chunk for chunk in chunks for scene in _load(self.root / chunk)}
        content = read_json(file)
        if not isinstance(content, dict):
            raise InvalidRequest(f"{file}: an object of scene: chunk is expected")
        return {scene: Path(chunk).name for scene, chunk in content.items()}

    def read(self, index: int) -> list[Frame]:
        name = self.names[index]
        file = self.root / self.chunks[name]
        scene = next((scene for scene in _load(file) if scene["key"] == name), None)
        if scene is None:
            raise InvalidRequest(f"{file}: the scene {name} is not in it, as index.json says")
        where = f"{file}: {name}"
        cameras, images = np.asarray(scene["cameras"], dtype=np.float64), scene["images"]
        if cameras.shape != (len(images), 18):
            raise InvalidRequest(f"{where}: cameras {cameras.shape} for {len(images)} images, (images, 18) is expected")
        size = image_size(_bytes(images[0]), f"{where}: frame 0")
        times = scene.get("timestamps")
        frames = []
        for number, (row, image) in enumerate(zip(cameras, images, strict=True)):
            label = f"{where}: frame {number}"
            camera = normalised_camera(row, size).check(label)
            stamp = made_up_stamp(number) if times is None else int(times[number]) * 1000
            frames.append(Frame(label, DEFAULT_CAMERA, stamp, camera, partial(_read, image, label, size)))
        return frames


def _load(file: Path) -> list[dict[str, Any]]:
    """A chunk's scenes; their images stay on the disk until they are read."""
    try:
        return _unpickled(file, file.stat().st_mtime_ns)
    except FileNotFoundError:
        raise InvalidRequest(f"{file}: no such file") from None


@lru_cache(maxsize=8)
def _unpickled(file: Path, _changed: int) -> list[dict[str, Any]]:
    try:
        scenes = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InvalidRequest(f"{file}: not a readable chunk ({str(error).splitlines()[0]})") from None
    if not isinstance(scenes, list) or not all({"key", "cameras", "images"} <= scene.keys() for scene in scenes):
        raise InvalidRequest(f"{file}: a list of scenes with key, cameras and images is expected")
    return scenes


def _bytes(image: torch.Tensor) -> bytes:
    return image.numpy().tobytes()


def _read(image: torch.Tensor, where: str, size: tuple[int, int]) -> np.ndarray:
    return read_rgb(_bytes(image), where, size)
