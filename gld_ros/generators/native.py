# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pixels of views: their sizes, and observed ones taken from the sources at the camera's own resolution.

Only what no source saw is left to the model's small picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.geometry.cameras import Camera, RelativeFrame
from gld_ros.geometry.warp import Warp, forward_warp, guided_upsample, pull_push, resample, seen_through
from gld_ros.networks.posed_depth import SourceDepth
from gld_ros.views import SENSOR_SPREAD, SourceView, View

#: Pixels up to which a camera's own resolution is worked on.
PIXELS = 640 * 480
#: Log ratio of depths within which two views show the same surface.
SAME = 0.2


@dataclass
class Pixels:
    """One view. image: (3, H, W) 0..1; depth: (H, W) metres; spread: (H, W) expected error of log depth; seen: (H, W)
    bool, what some source saw."""

    image: Tensor
    depth: Tensor
    spread: Tensor
    seen: Tensor


def pixels_of(view: View, device: torch.device) -> Pixels:
    """A finished view, for those after it: their sources may be others than its own, so nothing counts as seen."""
    assert view.spread is not None
    image = torch.from_numpy(view.image).to(device).permute(2, 0, 1).float() / 255
    depth, spread = (torch.from_numpy(x).to(device) for x in (view.depth, view.spread))
    return Pixels(image, depth, spread, torch.zeros_like(depth, dtype=torch.bool))


def at_size(pixels: Pixels, target: Camera) -> Pixels:
    """The view at the target camera's size; only the colours are interpolated."""
    size = (target.height, target.width)
    image, depth, spread, seen = pixels.image, pixels.depth, pixels.spread, pixels.seen
    if tuple(depth.shape) != size:
        maps = torch.stack([depth, spread, seen.float()])[None]
        depth, spread, shown = F.interpolate(maps, size=size, mode="nearest-exact")[0]
        seen = shown > 0.5
    return Pixels(resize(image[None, None], size)[0, 0], depth, spread, seen)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, V, C, H, W) to another size, area-averaged when it shrinks."""
    flat = images.flatten(0, 1)
    if flat.shape[-2:] == size:
        return images
    mode = "area" if size[0] <= flat.shape[-2] and size[1] <= flat.shape[-1] else "bilinear"
    return F.interpolate(flat, size=size, mode=mode).unflatten(0, images.shape[:2])


def to_uint8(image: Tensor) -> np.ndarray:
    """(3, H, W) 0..1 -> (H, W, 3) uint8."""
    return (image.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


@dataclass
class NativeSources:
    """values: (1, V, 4, H, W) colour and expected log depth error; depth: (1, V, H, W) in the frame's unit,
    NaN where a mask excludes; K: (1, V, 3, 3); c2w: (1, V, 4, 4)."""

    values: Tensor
    depth: Tensor
    K: Tensor
    c2w: Tensor


def camera_tensors(
    cameras: Sequence[Camera], frame: RelativeFrame, size: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """K (1, V, 3, 3) at the size (H, W) and c2w (1, V, 4, 4) in the frame, float32."""
    K = np.stack([camera.resized(size[1], size[0]).K for camera in cameras])
    c2w = np.stack([frame.relative(camera.c2w) for camera in cameras])
    found = (torch.tensor(x, dtype=torch.float32, device=device)[None] for x in (K, c2w))
    return next(found), next(found)


def pictures(images: Sequence[np.ndarray], size: tuple[int, int], device: torch.device | str) -> Tensor:
    """(1, V, 3, H, W) 0..1 of images (H, W, 3) uint8 of any size."""
    tensors = (torch.from_numpy(np.ascontiguousarray(image)).to(device) for image in images)
    return torch.cat([resize(x.permute(2, 0, 1)[None, None].float() / 255, size) for x in tensors], dim=1)


def source_pictures(sources: Sequence[SourceView], size: tuple[int, int], device: torch.device | str) -> Tensor:
    """`pictures` of the sources; what a mask excludes is painted over smoothly from around it."""
    return pictures([_painted_over(source) for source in sources], size, device)


def _painted_over(source: SourceView) -> np.ndarray:
    if source.mask is None:
        return source.image
    image = torch.from_numpy(np.ascontiguousarray(source.image)).permute(2, 0, 1)[None].float()
    filled = pull_push(image, torch.from_numpy(np.ascontiguousarray(source.mask))[None])
    return filled[0].permute(1, 2, 0).round().byte().numpy()


def usable_pixels(sources: Sequence[SourceView], size: tuple[int, int], device: torch.device | str) -> Tensor | None:
    """(1, V, H, W) bool, pixels with nothing in them that a source's mask excludes; None without masks."""
    if all(source.mask is None for source in sources):
        return None
    masks = []
    for source in sources:
        mask = np.ones(source.image.shape[:2], bool) if source.mask is None else source.mask
        share = F.interpolate(torch.from_numpy(mask).float()[None, None], size=size, mode="area")
        masks.append(share[0, 0] > 0.999)
    return torch.stack(masks)[None].to(device)


def native_sources(
    sources: Sequence[SourceView],
    images: Tensor,
    depth: SourceDepth,
    frame: RelativeFrame,
    limit: int,
) -> NativeSources:
    """Sources at (nearly) their own resolution; their depth follows the edges of their image.

    images: (1, V, 3, h, w) at the working size with `depth` (1, V, h, w); limit: see `native_size`.
    """
    size = native_size(sources[0].camera, limit)
    fine = source_pictures(sources, size, images.device)[0]
    inverse = pull_push(depth.depth[0].reciprocal().nan_to_num()[:, None], depth.depth[0].isfinite())[:, 0]
    coarse = torch.stack([inverse, depth.spread[0]], dim=1)
    upsampled = guided_upsample(coarse, images[0], fine)
    fine_depth, spread = upsampled[:, 0].reciprocal(), upsampled[:, 1]
    K, c2w = camera_tensors([source.camera for source in sources], frame, size, fine.device)
    if any(source.depth is not None for source in sources):
        sensor = sensor_depth(sources, frame, size, fine.device)[0].nan_to_num()
        fine_depth = torch.where(seen_through(fine_depth, sensor, K[0], c2w[0]), torch.nan, fine_depth)
        fine_depth = torch.where(sensor > 0, sensor, fine_depth)
        spread = torch.where(sensor > 0, SENSOR_SPREAD, spread)
    if (usable := usable_pixels(sources, size, fine.device)) is not None:
        fine_depth = torch.where(usable[0], fine_depth, torch.nan)
    return NativeSources(torch.cat([fine, spread[:, None]], dim=1)[None], fine_depth[None], K, c2w)


def sensor_depth(
    sources: Sequence[SourceView], frame: RelativeFrame, size: tuple[int, int], device: torch.device
) -> Tensor:
    """(1, V, H, W) depth images at a size in the frame's unit; NaN where not measured or between surfaces."""
    maps = []
    for source in sources:
        if (measured := source.measured) is None:
            maps.append(torch.full(size, torch.nan, device=device))
            continue
        depth = torch.from_numpy(measured).to(device)[None, None] / frame.unit
        maps.append(F.interpolate(depth, size=size, mode="nearest-exact")[0, 0])
    return torch.stack(maps)[None]


def measured_pixels(source: SourceView, size: tuple[int, ...]) -> np.ndarray | None:
    """(H, W) bool of the size: where the depth of `native_sources` is that of the source's depth sensor."""
    if (measured := source.measured) is None:
        return None
    known = torch.from_numpy(np.isfinite(measured))[None, None].float()
    return F.interpolate(known, size=size, mode="nearest-exact")[0, 0].numpy() > 0


def paste_observed(
    native: NativeSources,
    image: Tensor,
    depth: Tensor,
    spread: Tensor,
    target: Camera,
    frame: RelativeFrame,
    limit: int,
) -> Pixels:
    """A generated view with all that some source saw taken from there, at the target's size.

    image: (3, h, w) 0..1, of any size; depth: (h, w) metres; spread: (h, w); limit: see `native_size`.
    """
    size = native_size(target, limit)
    K, c2w = (x[0] for x in camera_tensors([target], frame, size, image.device))
    weight = torch.exp(-4 * native.values[:, :, 3])
    warp = forward_warp(native.values, native.depth, native.K, native.c2w, K, c2w, size, weight)
    warp = resample(warp, native.values, native.depth, native.K, native.c2w, K, c2w)
    painted = F.interpolate(image[None].float(), size=size, mode="bilinear", align_corners=False)[0]
    maps = torch.stack([depth.log(), spread])[None]
    log_depth, spread = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[0]
    seen = warp.seen[0]
    generated = Pixels(painted, log_depth.exp(), spread, torch.zeros_like(seen))
    return at_size(replace(pasted(generated, warp, seen, frame.unit), seen=seen), target)


def generated_parts(
    views: Sequence[tuple[Pixels, Camera]], frame: RelativeFrame, size: tuple[int, int]
) -> NativeSources:
    """The parts that views generated, at the size (H, W), to be warped into others; depth 0: a source saw it."""
    cameras = [camera for _, camera in views]
    sized = [at_size(view, camera.resized(size[1], size[0])) for view, camera in views]
    values = torch.stack([torch.cat([view.image, view.spread[None]]) for view in sized])[None]
    depth = torch.stack([torch.where(view.seen, 0.0, view.depth / frame.unit) for view in sized])[None]
    return NativeSources(values, depth, *camera_tensors(cameras, frame, size, values.device))


def shared(
    views: Sequence[Pixels],
    targets: Sequence[Camera],
    frame: RelativeFrame,
    earlier: Sequence[tuple[Pixels, Camera]] = (),
) -> list[Pixels]:
    """The views of one request, made to agree: a surface that an earlier one generated is taken from there.

    This holds where the view's own depth, within `SAME`, is that of the surface. What is taken counts as generated.
    earlier: views of windows before this one.
    """
    found = list(earlier)
    for view, target in zip(views, targets, strict=True):
        if found:
            size = (target.height, target.width)
            parts = generated_parts(found, frame, size)
            K, c2w = (x[0] for x in camera_tensors([target], frame, size, parts.values.device))
            posed = parts.values, parts.depth, parts.K, parts.c2w, K, c2w
            warp = resample(forward_warp(*posed, size), *posed)
            ratio = warp.depth[0].clamp_min(1e-9) * frame.unit / view.depth
            view = pasted(view, warp, warp.seen[0] & ~view.seen & (ratio.log().abs() < SAME), frame.unit)
        found.append((view, target))
    return [view for view, _ in found[len(earlier) :]]


def pasted(view: Pixels, warp: Warp, where: Tensor, unit: float) -> Pixels:
    """The view with the warp's pixels `where` (H, W) says; what is neither these nor seen goes on smoothly from both.

    warp: of one view, values (1, 4, H, W) colour and spread, depth in the unit.
    """
    known = where | view.seen
    image = torch.where(where, warp.values[0, :3], view.image)
    depth = torch.where(where, warp.depth[0].clamp_min(1e-9) * unit, view.depth)
    painted = meet(view.image[None], image[None], known[None])[0]
    log_depth = meet(view.depth.log()[None, None], depth.log()[None, None], known[None])[0, 0]
    # Feather two pixels into the known side, so that no seam shows.
    mask = known[None, None].float()
    soft = where * F.avg_pool2d(F.pad(mask, (2, 2, 2, 2), mode="replicate"), 5, 1)[0]
    return Pixels(
        torch.lerp(painted, image, soft).clamp(0, 1),
        torch.where(known, depth, log_depth.exp()),
        torch.where(where, warp.values[0, 3], view.spread).clamp_min(1e-3),
        view.seen,
    )


def meet(generated: Tensor, observed: Tensor, seen: Tensor) -> Tensor:
    """`generated` (B, C, H, W) changed smoothly so that it meets `observed` where that was seen (B, H, W).

    The difference between the two is carried into the holes as a membrane, as in seamless cloning (Perez et al. 2003).
    """
    return generated + pull_push(observed - generated, seen)


def native_size(camera: Camera, limit: int) -> tuple[int, int]:
    """(H, W): the camera's own size, or the same aspect with about `limit` pixels where it has more."""
    shrink = min(1.0, math.sqrt(limit / (camera.width * camera.height)))
    return max(1, round(camera.height * shrink)), max(1, round(camera.width * shrink))
