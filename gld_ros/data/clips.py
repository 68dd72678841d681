# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The one item type of all data sets: a clip of posed views of one scene, and batches of clips."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gld_ros.errors import InvalidRequest

log = logging.getLogger(__name__)


@dataclass
class Clip:
    """V posed views of one scene, all of one size.

    images: (V, 3, H, W) float32, 0..1 RGB. K: (V, 3, 3) float32 pixels, counted from the corner of the first pixel.
    c2w: (V, 4, 4) float32 camera to world, OpenCV axes, in the unit of the data set (metres where it has them).
    depth: (V, H, W) float32 along z in the poses' unit, NaN unknown; None where the data set has none.
    mask: (V, H, W) bool, False = excluded, as in `SourceView`; None where nothing is.
    name: the scene, for messages. sources: the first `sources` views are given, the others are to be made; None where
    that is not decided.
    """

    images: Tensor
    K: Tensor
    c2w: Tensor
    depth: Tensor | None = None
    name: str = ""
    sources: int | None = None
    mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), pixels."""
        return self.images.shape[-1], self.images.shape[-2]

    def views(self, indices: list[int]) -> Clip:
        """The clip of these of its views, in this order."""
        return replace(self, **_each(self, lambda tensor: tensor[indices]), sources=None)

    def check(self) -> Clip:
        """Return self, or raise InvalidRequest naming the scene and what is wrong: shapes, NaN, poses, intrinsics."""
        V, (W, H) = len(self.images), self.size
        expected = {"images": (V, 3, H, W), "K": (V, 3, 3), "c2w": (V, 4, 4), "depth": (V, H, W), "mask": (V, H, W)}
        for field, shape in expected.items():
            value = getattr(self, field)
            if value is None:
                continue
            dtype = torch.bool if field == "mask" else torch.float32
            if tuple(value.shape) != shape or value.dtype != dtype:
                raise InvalidRequest(
                    f"{self.name}: {field} is {value.dtype} {tuple(value.shape)}, {dtype} {shape} is expected"
                )
            if field != "depth" and not torch.isfinite(value).all():
                raise InvalidRequest(f"{self.name}: {field} holds NaN or infinite numbers")
        if self.images.min() < 0 or self.images.max() > 1:
            raise InvalidRequest(f"{self.name}: images are not within 0..1")
        rotation = self.c2w[:, :3, :3]
        if (rotation @ rotation.mT - torch.eye(3)).abs().max() > 1e-3 or torch.linalg.det(rotation).min() < 0:
            raise InvalidRequest(f"{self.name}: a pose is no rotation and translation")
        if self.K[:, 0, 0].min() <= 0 or self.K[:, 1, 1].min() <= 0:
            raise InvalidRequest(f"{self.name}: a focal length is not above 0")
        return self


@dataclass
class ClipBatch:
    """B clips of one size and number of views; the fields of `Clip` with a leading B.

    depth: (B, V, H, W), NaN for clips without; None where no clip has depth. sources: of every clip.
    """

    images: Tensor
    K: Tensor
    c2w: Tensor
    depth: Tensor | None
    names: list[str]
    sources: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> ClipBatch:
        """The same batch on another device."""
        return replace(self, **_each(self, lambda tensor: tensor.to(device)))


def _each(item: Clip | ClipBatch, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Its tensors, changed, by the names of their fields."""
    return {name: change(value) for name, value in vars(item).items() if isinstance(value, Tensor)}


@cache
def _warn_of_masks() -> None:
    log.warning("masks are not used in training: what they exclude is taken for a part of the scene, without depth")


def collate(clips: list[Clip]) -> ClipBatch:
    """Stack clips of one shape. Raises InvalidRequest where sizes or numbers of views or sources differ."""
    if not clips:
        raise InvalidRequest("no clips to stack")
    if any(clip.mask is not None for clip in clips):
        _warn_of_masks()
    for clip in clips:
        if clip.sources != clips[0].sources:
            raise InvalidRequest(f"{clip.name}: {clip.sources} sources in a batch with {clips[0].sources}")
        if clip.images.shape != clips[0].images.shape:
            raise InvalidRequest(
                f"{clip.name}: images {tuple(clip.images.shape)} in a batch with {tuple(clips[0].images.shape)} of "
                f"{clips[0].name}; one batch has one size and one number of views"
            )
    depths = None
    if any(clip.depth is not None for clip in clips):
        unknown = torch.full_like(clips[0].images[:, 0], torch.nan)
        depths = torch.stack([unknown if clip.depth is None else clip.depth for clip in clips])
    images, K, c2w = (torch.stack([getattr(clip, field) for clip in clips]) for field in ("images", "K", "c2w"))
    return ClipBatch(images, K, c2w, depths, [clip.name for clip in clips], clips[0].sources)
