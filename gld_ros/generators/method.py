# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A request's options, its progress, and pictures as tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.diffusion.sampler import Sampling
from gld_ros.generators.presets import EXACT, Preset
from gld_ros.generators.timer import UNLIMITED, Timer
from gld_ros.geometry.cameras import Camera
from gld_ros.networks.configs import FlowConfig
from gld_ros.views import Progress

Callback = Callable[[Progress], None]


@dataclass(frozen=True)
class Options:
    """Options of one request.

    size: (H, W) the model works at; steps, guidance_scale: of both diffusion stages, None for the preset's;
    strict_scale: of the released models: refuse where their geometry contradicts the poses, instead of warning;
    observed_pixels: take what a source saw from there, None for the model's way.
    """

    size: tuple[int, int]
    preset: Preset = EXACT
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    strict_scale: bool = True
    observed_pixels: bool | None = None
    timer: Timer = UNLIMITED

    def sampling(self, flow: FlowConfig) -> tuple[Sampling, Sampling]:
        """Of level 1 and of level 0."""
        return self.preset.sampling(flow, self.steps, self.guidance_scale)


class Reporter:
    """Counts the steps of a request and tells the caller's callback.

    steps: of level 1 and of level 0; timer: told, too.
    """

    def __init__(self, callback: Callback | None, steps: tuple[int, int], timer: Timer = UNLIMITED) -> None:
        self._callback, self._steps, self._done, self._timer = callback, steps, 0, timer
        self._total = sum(steps) + 2

    def __call__(self, stage: str, step: int, preview: Tensor | None = None) -> bool:
        """Whether further steps of the stage have to be left out. Raises RequestTimeout, or as the callback does."""
        self._done += stage != "condition"
        if self._callback is not None and stage != "condition":
            picture = None if preview is None else to_uint8(preview)
            steps = self._steps[1 if stage == "level0" else 0]
            self._callback(Progress(stage, step, steps, self._done / self._total, picture))
        return self._timer.done(stage)


def part_of(callback: Callback | None, k: int, count: int) -> Callback | None:
    """The callback for the k-th of `count` rounds: progress is that of all of them together."""
    if callback is None or count == 1:
        return callback
    return lambda progress: callback(replace(progress, fraction=(k + progress.fraction) / count))


@dataclass
class Pixels:
    """One view. image: (3, H, W) 0..1; depth: (H, W) metres; spread: (H, W) expected error of log depth; seen: (H, W)
    bool, what some source saw."""

    image: Tensor
    depth: Tensor
    spread: Tensor
    seen: Tensor


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
