# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a view has to beat: the nearest source as it is, and plain depth warping with the holes blurred over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gld_ros.confidence import confidence
from gld_ros.errors import ModelError
from gld_ros.evaluation.scenes import Scene
from gld_ros.generators.method import Pixels, at_size, resize, to_uint8
from gld_ros.generators.native import native_size
from gld_ros.generators.presets import EXACT
from gld_ros.generators.scale import geometry_spread, joint_scale
from gld_ros.generators.warping import warp_sources
from gld_ros.geometry.cameras import Camera, nearest
from gld_ros.geometry.frame import RelativeFrame
from gld_ros.networks.posed_depth import SourceDepth
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.pipeline.request import working_size
from gld_ros.views import SourceView


@dataclass(frozen=True)
class Picture:
    """What a method answers for one target. image: (H, W, 3) uint8. depth: (H, W) in the poses' unit, NaN unknown.
    seen: (H, W) bool, what the sources show as the method says. confidence: (H, W) 0..1, probability that the depth is
    right within 10 %. None: the method has no such thing."""

    image: np.ndarray
    depth: np.ndarray | None = None
    seen: np.ndarray | None = None
    confidence: np.ndarray | None = None


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
    size = native_size(sources[0].camera, EXACT.pixels)
    images = torch.cat([resize(_picture(s.image), size) for s in sources], dim=1)
    depth = torch.from_numpy(np.stack(depths))[None] / frame.unit
    depth = torch.nn.functional.interpolate(depth, size=size, mode="nearest-exact")
    cameras = [s.camera for s in sources]
    return PosedSources(
        images, SourceDepth(depth, torch.full_like(depth, 0.01)), *_matrices(cameras, frame, size), frame
    )


@torch.inference_mode()
def with_own_depth(pipe: GLDPipeline, sources: Sequence[SourceView], like: Camera) -> PosedSources:
    """Sources with the depth the model finds in them, at the size of the camera `like` or the model's, if that is it.

    Raises ScaleUnknown, and ModelError for a model without a geometry head.
    """
    synthesis, config = pipe.synthesis, pipe.net.config
    size = working_size(sources[0].camera, config)
    prepared = synthesis.prepare(sources, size, EXACT.pixels)
    images = prepared.images
    if prepared.posed is not None:
        frame, native = prepared.posed.frame, prepared.posed.native
        if (like.height, like.width) == size:
            K, c2w = synthesis.cameras([s.camera for s in sources], frame, size)
            return PosedSources(images, prepared.posed.depth, K, c2w, frame)
    else:
        if config.dpt is None:
            raise ModelError(f"model '{pipe.name}' has no geometry head, so no depth of its own")
        frame = RelativeFrame([s.camera for s in sources])
        K, c2w = synthesis.cameras([s.camera for s in sources], frame, size)
        with synthesis.autocast():
            with synthesis.residency.at_work("encoder"):
                levels = pipe.net.encoder(images)
                features = [pipe.net.encoder.to_decoder(level) for level in levels]
            with synthesis.residency.at_work("dpt"):
                geometry = pipe.net.dpt(features, levels[0].grid, size)
        scale = joint_scale(sources, geometry, K, c2w, frame, synthesis.min_baseline, strict=False)
        depth = SourceDepth(geometry.depth.float() * (scale.value / frame.unit), geometry_spread(geometry))
        native = synthesis.native(sources, images, depth, frame, EXACT.pixels)
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
    K, c2w = (x.to(posed.images.device) for x in _matrices([target], posed.frame, size))
    warped = warp_sources(posed.images, posed.depth, posed.K, posed.c2w, K, c2w, sharp)
    metres = warped.depth[0, 0] * posed.frame.unit
    pixels = at_size(Pixels(warped.image[0, 0], metres, warped.spread[0, 0], warped.seen[0, 0]), target)
    depth, spread, seen = (x.cpu().numpy() for x in (pixels.depth, pixels.spread, pixels.seen))
    return Picture(to_uint8(pixels.image), depth, seen, confidence(spread, ~seen, None))


def _picture(image: np.ndarray) -> Tensor:
    """(1, 1, 3, H, W) 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None, None].float() / 255


def _matrices(cameras: Sequence[Camera], frame: RelativeFrame, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """K (1, V, 3, 3) at the size (H, W) and c2w (1, V, 4, 4) in the frame."""
    K = np.stack([camera.resized(size[1], size[0]).K for camera in cameras])
    c2w = np.stack([frame.relative(camera.c2w) for camera in cameras])
    return torch.tensor(K, dtype=torch.float32)[None], torch.tensor(c2w, dtype=torch.float32)[None]
