# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Methods to compare: each answers a scene with a picture of every target. Any callable of that kind will do.

The baselines are the nearest source as it is, and plain depth warping with the holes blurred over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gld_ros.confidence import confidence
from gld_ros.errors import InvalidRequest, ScaleUnknown
from gld_ros.evaluation.scenes import Scene
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.native import PIXELS, Pixels, at_size, camera_tensors, native_size, source_pictures, to_uint8
from gld_ros.generators.warping import warp_sources
from gld_ros.geometry.cameras import Camera, RelativeFrame, nearest
from gld_ros.networks.posed_depth import SourceDepth
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import SourceView


@dataclass(frozen=True)
class Picture:
    """A method's answer for one target. image: (H, W, 3) uint8. depth: (H, W) in the poses' unit, NaN unknown.
    seen: (H, W) bool, what the sources show as the method says. confidence: (H, W) 0..1, probability that the depth is
    right within 10 %. interval: (H, W) lower and upper bound of the depth at 90 %, NaN unknown. c2w: (4, 4) pose that
    the method found for the picture. None: the method has no such thing."""

    image: np.ndarray
    depth: np.ndarray | None = None
    seen: np.ndarray | None = None
    confidence: np.ndarray | None = None
    interval: tuple[np.ndarray, np.ndarray] | None = None
    c2w: np.ndarray | None = None


@dataclass
class PosedSources:
    """Sources with depth. images: (1, S, 3, H, W); depth, K and c2w in `frame`, K at that size."""

    images: Tensor
    depth: SourceDepth
    K: Tensor
    c2w: Tensor
    frame: RelativeFrame


def copy_nearest(sources: Sequence[SourceView], depths: Sequence[np.ndarray] | None, target: Camera) -> Picture:
    """The source nearest in pose, with its true depth (H, W) where that is known."""
    k = nearest(target, [s.camera for s in sources])
    return Picture(sources[k].image, None if depths is None else depths[k])


def with_true_depth(sources: Sequence[SourceView], depths: Sequence[np.ndarray]) -> PosedSources:
    """Sources with their true depths (H, W), on the CPU."""
    frame = RelativeFrame([s.camera for s in sources])
    size = native_size(sources[0].camera, PIXELS)
    images = source_pictures(sources, size, "cpu")
    depth = torch.from_numpy(np.stack(depths))[None] / frame.unit
    depth = torch.nn.functional.interpolate(depth, size=size, mode="nearest-exact")
    K, c2w = camera_tensors([s.camera for s in sources], frame, size, images.device)
    return PosedSources(images, SourceDepth(depth, torch.full_like(depth, 0.01)), K, c2w, frame)


@torch.inference_mode()
def with_own_depth(pipe: GLDPipeline, sources: Sequence[SourceView], like: Camera) -> PosedSources:
    """Sources with the depth the model finds in them, at the size of the camera `like` or the model's, if that is it.

    Raises ScaleUnknown, and ModelError for a model without a geometry head.
    """
    gld, cameras = GLD.of(pipe.generator), [source.camera for source in sources]
    size, frame = gld.working_size(cameras[0]), RelativeFrame(cameras)
    images, depth, native = gld.own_depth(sources, size)
    if gld.limits.native and (like.height, like.width) == size:
        return PosedSources(images, depth, *camera_tensors(cameras, frame, size, images.device), frame)
    values = native.values
    return PosedSources(values[:, :, :3], SourceDepth(native.depth, values[:, :, 3]), native.K, native.c2w, frame)


def source_depths(pipe: GLDPipeline, scene: Scene) -> list[np.ndarray]:
    """Depth (H, W) of every source: the true one where the data have it, otherwise what the model finds.

    Raises ScaleUnknown, and ModelError for a model without a geometry head.
    """
    if scene.source_depths is not None:
        return scene.source_depths
    posed = with_own_depth(pipe, scene.sources, scene.cameras[0])
    depths = (posed.depth.depth[0] * posed.frame.unit).float()
    sizes = [(source.camera.height, source.camera.width) for source in scene.sources]
    maps = [
        torch.nn.functional.interpolate(depth[None, None], size=size, mode="nearest-exact")[0, 0]
        for depth, size in zip(depths, sizes, strict=True)
    ]
    return [depth.cpu().numpy() for depth in maps]


@torch.inference_mode()
def depth_warp(posed: PosedSources, target: Camera, sharp: bool = False) -> Picture:
    """Sources splatted into the target by their depth; pull-push fills holes.

    sharp: read back from the sources as mini's own input is, so that what is learned can be told from it.
    """
    size = (posed.images.shape[-2], posed.images.shape[-1])
    K, c2w = camera_tensors([target], posed.frame, size, posed.images.device)
    warped = warp_sources(posed.images, posed.depth, posed.K, posed.c2w, K, c2w, sharp)
    metres = warped.depth[0, 0] * posed.frame.unit
    pixels = at_size(Pixels(warped.image[0, 0], metres, warped.spread[0, 0], warped.seen[0, 0]), target)
    depth, spread, seen = (x.cpu().numpy() for x in (pixels.depth, pixels.spread, pixels.seen))
    return Picture(to_uint8(pixels.image), depth, seen, confidence(spread, ~seen, None))


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
    """The model, first, and the baselines that every evaluation holds. `options` go to the pipeline.

    Those of the model's own depth of the sources are only there for GLD.
    """
    methods = [
        model("model", pipe, **options),
        Method("copy_nearest", _copy, "the source nearest in pose; its depth is the true one"),
        Method("true_depth_warp", _true_warp, "sources splatted by their true depth, holes blurred over"),
    ]
    if not isinstance(pipe.generator, GLD):
        return methods
    own = OwnDepth(pipe)
    methods[2:2] = [
        Method("own_depth_warp", own, "sources splatted by the model's own depth, holes blurred over"),
        Method("own_depth_read_back", own.read_back, "the same, colours read back from the sources: nothing generated"),
    ]
    return methods


def model(name: str, pipe: GLDPipeline, **options: Any) -> Method:
    """A model as a method. `options` go to the pipeline."""

    def answer(scene: Scene, seed: int) -> list[Picture | None]:
        views = pipe(scene.sources, scene.cameras, seed=seed, **options)
        return [
            Picture(
                view.image,
                view.depth,
                ~view.generated,
                view.confidence,
                view.depth_interval(0.9),
                view.estimated_c2w,
            )
            for view in views
        ]

    chosen = ", ".join(f"{key} {value}" for key, value in options.items() if value is not None)
    return Method(name, answer, f"{pipe.name} ({chosen})" if chosen else pipe.name, random=True)


def rgb_alone(pipe: GLDPipeline, **options: Any) -> Method:
    """A model without the depth of its sources. It has no picture where they have no baseline. `options`: as `model`"""
    whole = model("rgb_alone", pipe, **options)

    def answer(scene: Scene, seed: int) -> list[Picture | None]:
        try:
            return whole.answer(replace(scene, sources=[replace(s, depth=None) for s in scene.sources]), seed)
        except ScaleUnknown:
            return [None] * len(scene.targets)

    return replace(whole, answer=answer, note=f"{whole.note}, without the depth of the sources")


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
