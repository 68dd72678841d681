# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras of any aspect for a model that works at one: images are enlarged to cover its size, and cropped.

The model's frame shows the middle of such a camera's image; nothing is known of the margins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.generators.native import Pixels, resize, source_pictures
from gld_ros.geometry.cameras import Camera
from gld_ros.networks.gen3r.conditions import covered, covered_intrinsics
from gld_ros.views import SourceView


def covered_camera(camera: Camera, size: tuple[int, int]) -> Camera:
    """The camera of the middle of its image at the size (H, W)."""
    K = covered_intrinsics(torch.from_numpy(camera.K), (camera.height, camera.width), size)
    return Camera(K.numpy(), camera.c2w, size[1], size[0])


def covered_source(source: SourceView, size: tuple[int, int]) -> SourceView:
    """The middle of a source at the size (H, W): depth by nearest neighbours; what a mask excludes is painted over."""
    camera = covered_camera(source.camera, size)
    images = covered_images([source], size, "cpu")[0, 0]
    image = (images.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    depth = None if source.depth is None else _nearest(source.depth, size)
    mask = None if source.mask is None else _nearest(source.mask, size).astype(bool)
    return replace(source, image=image, camera=camera, depth=depth, mask=mask)


def covered_images(sources: Sequence[SourceView], size: tuple[int, int], device: torch.device | str) -> Tensor:
    """(1, V, 3, H, W) 0..1, the middle of each source's image."""
    full = ((source.camera.height, source.camera.width) for source in sources)
    images = [covered(source_pictures([s], own, device)[0], size) for s, own in zip(sources, full, strict=True)]
    return torch.cat(images)[None]


def uncovered(pixels: Pixels, target: Camera) -> Pixels:
    """A frame at the size of the camera that it shows the middle of; the margins are black and of unknown depth."""
    H, W = pixels.depth.shape
    scale = max(H / target.height, W / target.width)
    h, w = max(round(scale * target.height), H), max(round(scale * target.width), W)
    top, left = (h - H) // 2, (w - W) // 2
    edges = (left, w - W - left, top, h - H - top)
    own = (target.height, target.width)
    image = resize(F.pad(pixels.image, edges)[None, None], own)[0, 0]
    maps = [F.pad(x, edges, value=torch.nan) for x in (pixels.depth, pixels.spread, pixels.seen.float())]
    depth, spread, seen = F.interpolate(torch.stack(maps)[None], size=own, mode="nearest-exact")[0]
    return Pixels(image, depth, spread.nan_to_num(UNKNOWN), seen == 1)


#: Expected log error where nothing is known.
UNKNOWN = 1e3


def _nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) of a map (h, w) that is enlarged to cover the size, and cropped, by nearest neighbours."""
    h, w = values.shape
    scale = max(size[0] / h, size[1] / w)
    top, left = ((round(n * scale) - part) // 2 for n, part in zip((h, w), size, strict=True))
    rows = ((np.arange(size[0]) + top + 0.5) / scale).astype(int).clip(0, h - 1)
    columns = ((np.arange(size[1]) + left + 0.5) / scale).astype(int).clip(0, w - 1)
    return values[rows[:, None], columns]
