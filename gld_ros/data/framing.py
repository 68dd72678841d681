# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From posed frames of any sizes to a clip of one size: crops centred on the principal point, K follows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from gld_ros.data.clips import Clip
from gld_ros.data.sequence import Frame
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import local_origin
from gld_ros.views import SourceView

#: (width, height) of the released models, by falling height.
RELEASED_SIZES = ((504, 504), (504, 378), (504, 336), (504, 280))


def window(camera: Camera, width: int, height: int, where: str = "camera") -> Camera:
    """The largest crop of `camera` centred on its principal point (within half a pixel) that is as wide as high as
    `width` x `height`. Raises InvalidRequest where the principal point lies outside the image.
    """
    (cx, cy), (full_width, full_height) = camera.K[:2, 2], (camera.width, camera.height)
    reach = min(min(cx, full_width - cx) / width, min(cy, full_height - cy) / height)
    if reach <= 0:
        size = f"{full_width}x{full_height}"
        raise InvalidRequest(f"{where}: the principal point ({cx:.1f}, {cy:.1f}) lies outside the {size} image")
    crop_width, crop_height = max(round(2 * reach * width), 1), max(round(2 * reach * height), 1)
    x0 = min(max(round(cx - crop_width / 2), 0), full_width - crop_width)
    y0 = min(max(round(cy - crop_height / 2), 0), full_height - crop_height)
    return camera.cropped(x0, y0, crop_width, crop_height)


def framed(pixels: np.ndarray, camera: Camera, crop: Camera, size: tuple[int, int]) -> np.ndarray:
    """The part of an image (H, W, 3) uint8, depth (H, W) float32, or a mask (H, W) bool, of `camera` that `crop` shows,
    at `size`.

    Colours are filtered (Lanczos), depth is picked; a mask is True where all of its pixels are.
    """
    x0, y0 = (round(camera.K[k, 2] - crop.K[k, 2]) for k in (0, 1))
    part = pixels[y0 : y0 + crop.height, x0 : x0 + crop.width]
    if (crop.width, crop.height) == size:
        return part
    if part.dtype == bool:
        return np.array(Image.fromarray(part.astype(np.float32)).resize(size, Image.Resampling.BOX)) > 0.999
    method = Image.Resampling.LANCZOS if part.ndim == 3 else Image.Resampling.NEAREST
    return np.array(Image.fromarray(np.ascontiguousarray(part)).resize(size, method))


def view_at(frame: Frame, size: tuple[int, int] | None) -> SourceView:
    """Load `frame` at `size` (width, height; None: its own).

    Raises InvalidRequest naming the frame where it cannot be read, or has no `window`.
    """
    view = frame.view()
    if size is None:
        return view
    crop = window(frame.camera, *size, frame.name)
    depth, mask = (x if x is None else framed(x, frame.camera, crop, size) for x in (view.depth, view.mask))
    return SourceView(framed(view.image, frame.camera, crop, size), crop.resized(*size), view.stamp, depth, mask)


def make_clip(frames: Sequence[Frame], size: tuple[int, int] | None = None, name: str = "") -> Clip:
    """Load `frames` as one clip of `size` (width, height); None: their own size, which they must share.

    Raises InvalidRequest naming the frame that cannot be read, or does not fit.
    """
    first = frames[0].camera
    for frame in frames if size is None else ():
        if (frame.camera.width, frame.camera.height) != (first.width, first.height):
            raise InvalidRequest(
                f"{frame.name}: {frame.camera.width}x{frame.camera.height} pixels among frames of "
                f"{first.width}x{first.height}; a size is needed for clips of mixed sizes"
            )
    views = [view_at(frame, size) for frame in frames]
    clip = clip_of(
        np.stack([view.image for view in views]), [view.depth for view in views], [view.camera for view in views], name
    )
    if any(view.mask is not None for view in views):
        masks = [np.ones(view.image.shape[:2], bool) if view.mask is None else view.mask for view in views]
        clip.mask = torch.from_numpy(np.stack(masks))
    return clip


def clip_of(images: np.ndarray, depths: Sequence[np.ndarray | None], cameras: Sequence[Camera], name: str = "") -> Clip:
    """A clip of images (V, H, W, 3) uint8, depths (H, W), all NaN where one is None, and cameras of their size.

    Large coordinates are counted from a local origin.
    """
    measured = None
    poses = np.stack([camera.c2w for camera in cameras])
    poses[:, :3, 3] -= local_origin(poses[:, :3, 3])
    if any(depth is not None for depth in depths):
        unknown = np.full(images.shape[1:3], np.nan, dtype=np.float32)
        measured = torch.from_numpy(np.stack([unknown if depth is None else depth for depth in depths]))
    return Clip(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255,
        K=torch.from_numpy(np.stack([camera.K for camera in cameras])).float(),
        c2w=torch.from_numpy(poses).float(),
        depth=measured,
        name=name,
    )
