# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Methods to compare: each answers a scene with a picture of every target. Any callable of that kind will do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.baselines import (
    Picture,
    PosedSources,
    copy_nearest,
    depth_warp,
    with_own_depth,
    with_true_depth,
)
from gld_ros.evaluation.scenes import Scene
from gld_ros.pipeline.pipeline import GLDPipeline

#: (scene, seed) -> a picture of every target, in order; None where there is none.
Answer = Callable[[Scene, int], list[Picture | None]]


@dataclass(frozen=True)
class Method:
    """One row of the tables. random: other seeds give other pictures, so samples are drawn. note: what it is."""

    name: str
    answer: Answer
    note: str
    random: bool = False


def methods_for(pipe: GLDPipeline, **options: Any) -> list[Method]:
    """The model, first, and the baselines that every evaluation holds. `options` go to the pipeline."""
    own = OwnDepth(pipe)
    return [
        model("model", pipe, **options),
        Method("copy_nearest", _copy, "the source nearest in pose; its depth is the true one"),
        Method("own_depth_warp", own, "sources splatted by the model's own depth, holes blurred over"),
        Method("own_depth_read_back", own.read_back, "the same, colours read back from the sources: nothing generated"),
        Method("true_depth_warp", _true_warp, "sources splatted by their true depth, holes blurred over"),
    ]


def model(name: str, pipe: GLDPipeline, **options: Any) -> Method:
    """A model as a method. `options` go to the pipeline."""

    def answer(scene: Scene, seed: int) -> list[Picture | None]:
        views = pipe(scene.sources, scene.cameras, seed=seed, **options)
        return [
            Picture(view.image, view.depth, ~view.generated, view.confidence, view.depth_interval(0.9))
            for view in views
        ]

    chosen = ", ".join(f"{key} {value}" for key, value in options.items() if value is not None)
    return Method(name, answer, f"{pipe.name} ({chosen})" if chosen else pipe.name, random=True)


def peer(name: str, folder: str | Path) -> Method:
    """Another system's pictures: FOLDER/SCENE/TARGET.png (or .jpg), and depth beside them as TARGET_depth.npy if any.

    The layout of what `gld eval --save-views` writes. Raises InvalidRequest where there is no such folder; a missing
    picture is left out and named in the report, one of another size is an error.
    """
    if not Path(folder).is_dir():
        raise InvalidRequest(f"peer {name}: {folder}: no such folder")

    def answer(scene: Scene, seed: int) -> list[Picture | None]:
        return [_read_picture(Path(folder) / scene.name / target, scene, k) for k, target in enumerate(scene.names)]

    return Method(name, answer, f"pictures from {folder}")


class OwnDepth:
    """Warps by the model's own depth, which is found once a scene."""

    def __init__(self, pipe: GLDPipeline) -> None:
        self.pipe = pipe
        self._latest: tuple[Scene, PosedSources] | None = None

    def __call__(self, scene: Scene, seed: int) -> list[Picture | None]:
        return [depth_warp(self._sources(scene), camera) for camera in scene.cameras]

    def read_back(self, scene: Scene, seed: int) -> list[Picture | None]:
        return [depth_warp(self._sources(scene), camera, sharp=True) for camera in scene.cameras]

    def _sources(self, scene: Scene) -> PosedSources:
        if self._latest is None or self._latest[0] is not scene:
            self._latest = scene, with_own_depth(self.pipe, scene.sources, scene.cameras[0])
        return self._latest[1]


def _copy(scene: Scene, seed: int) -> list[Picture | None]:
    return [copy_nearest(scene.sources, scene.source_depths, camera) for camera in scene.cameras]


def _true_warp(scene: Scene, seed: int) -> list[Picture | None]:
    if scene.source_depths is None:
        return [None] * len(scene.targets)
    posed = with_true_depth(scene.sources, scene.source_depths)
    # True depth doubts nothing.
    return [replace(depth_warp(posed, camera), confidence=None) for camera in scene.cameras]


def _read_picture(stem: Path, scene: Scene, k: int) -> Picture | None:
    path = next((p for p in (stem.with_suffix(s) for s in (".png", ".jpg")) if p.exists()), None)
    if path is None:
        return None
    try:
        image = np.array(Image.open(path).convert("RGB"))
    except OSError as error:
        raise InvalidRequest(f"{path}: not a readable image ({error})") from None
    camera, depth_path = scene.cameras[k], stem.with_name(f"{stem.name}_depth.npy")
    depth = np.load(depth_path) if depth_path.exists() else None
    for what, array in (("image", image), ("depth", depth)):
        if array is not None and array.shape[:2] != (camera.height, camera.width):
            size = f"{array.shape[1]}x{array.shape[0]}"
            raise InvalidRequest(f"{path}: {what} of {size} pixels, {camera.width}x{camera.height} expected")
    return Picture(image, depth)
