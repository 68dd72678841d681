# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What both ways of synthesis share: tensors of a request on the device, and views from tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gld_ros.diffusion.sampling import Sampling
from gld_ros.errors import ModelError
from gld_ros.geometry.cameras import Camera
from gld_ros.models.configs import FlowConfig
from gld_ros.pipeline.engine import Engine
from gld_ros.pipeline.offload import Residency
from gld_ros.pipeline.presets import EXACT, Preset
from gld_ros.pipeline.recent import RecentSources
from gld_ros.pipeline.request import RelativeFrame
from gld_ros.pipeline.timer import UNLIMITED, Timer
from gld_ros.pipeline.uncertainty import Calibration, confidence, novelty
from gld_ros.pipeline.views import Progress, Scale, SourceView, View

Callback = Callable[[Progress], None]


@dataclass(frozen=True)
class Options:
    """Of one request. size: (H, W) the model works at; steps, guidance_scale: of both diffusion stages, None for the
    preset's; strict_scale: of models that generate all views together: refuse where their geometry contradicts
    the poses, instead of warning.
    """

    size: tuple[int, int]
    preset: Preset = EXACT
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    strict_scale: bool = True
    timer: Timer = UNLIMITED

    def sampling(self, flow: FlowConfig) -> tuple[Sampling, Sampling]:
        """Of level 1 and of the cascade."""
        return self.preset.sampling(flow, self.steps, self.guidance_scale)


class Reporter:
    """Counts the steps of a request and tells the caller's callback.

    steps: of level 1 and of level 0; rounds: how often both are run, each followed by a decoding; timer: told, too.
    """

    def __init__(
        self, callback: Callback | None, steps: tuple[int, int], rounds: int = 1, timer: Timer = UNLIMITED
    ) -> None:
        self._callback, self._steps, self._done, self._timer = callback, steps, 0, timer
        self._total = rounds * (sum(steps) + 1) + 1

    def __call__(self, stage: str, step: int, preview: Tensor | None = None) -> bool:
        """Whether further steps of the stage have to be left out. Raises RequestTimeout, or as the callback does."""
        self._done += 1
        if self._callback is not None:
            picture = None if preview is None else to_uint8(preview)
            steps = self._steps[1 if stage == "level0" else 0]
            self._callback(Progress(stage, step, steps, self._done / self._total, picture))
        return self._timer.done(stage)


def part_of(callback: Callback | None, k: int, count: int) -> Callback | None:
    """The callback for the k-th of `count` rounds: progress is that of all of them together."""
    if callback is None or count == 1:
        return callback
    return lambda progress: callback(replace(progress, fraction=(k + progress.fraction) / count))


class Synthesis(ABC):
    """One way from sources and target cameras to views."""

    def __init__(self, residency: Residency, dtype: torch.dtype, min_baseline: float, engine: Engine | None = None):
        self.residency, self.dtype, self.min_baseline = residency, dtype, min_baseline
        self.net, self.device = residency.net, residency.device
        self.engine = engine or Engine(self.device)
        self.recent: RecentSources[Any] = RecentSources()
        self.calibration: Calibration | None = None

    @abstractmethod
    def synthesize(
        self, sources: Sequence[SourceView], targets: Sequence[Camera], options: Options, callback: Callback | None
    ) -> list[View]:
        """One View a target, each of its camera's size. Raises ScaleUnknown, ModelError and what `callback` raises."""

    @abstractmethod
    def encoding(self, options: Options) -> tuple[Any, ...]:
        """What of the options decides what is made of the sources, and kept."""

    def forget(self) -> None:
        """Drop what is kept of the sources of recent requests."""
        self.recent.clear()

    def cameras(self, cameras: Sequence[Camera], frame: RelativeFrame, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """K (1, V, 3, 3) at the working size (H, W) and c2w (1, V, 4, 4) in the request's own frame, float32."""
        K = np.stack([c.resized(size[1], size[0]).K for c in cameras])
        c2w = np.stack([frame.relative(c.c2w) for c in cameras])
        return self._tensor(K)[None], self._tensor(c2w)[None]

    def picture(self, image: np.ndarray) -> Tensor:
        """(3, H, W) float 0..1 on the device, of (H, W, 3) uint8."""
        return torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1).float() / 255

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def view(
        self, pixels: tuple, target: Camera, sources: Sequence[SourceView], scale: Scale, options: Options
    ) -> View:
        """From image (3, H, W), depth (H, W) metres, spread (H, W) and seen (H, W)."""
        image, depth, spread, seen = pixels
        calibration = self.calibration
        if calibration and (target.height, target.width) != options.size:
            calibration = calibration.at_native()
        self.check_finite(image, depth[depth == depth])
        stated, generated = spread.float().cpu().numpy(), (~seen).cpu().numpy()
        return View(
            camera=target,
            image=to_uint8(image),
            depth=depth.float().cpu().numpy(),
            confidence=confidence(stated, generated, calibration),
            generated=generated,
            scale=scale,
            model=self.net.config.name,
            seed=options.seed,
            preset=options.preset.name,
            complete=not options.timer.cut,
            source_stamps=tuple(s.stamp for s in sources),
            spread=stated,
            calibration=calibration,
            novelty=novelty(sources, target),
        )

    def check_finite(self, *outputs: Tensor) -> None:
        """Raise ModelError for outputs of the networks that are not finite."""
        if not all(torch.isfinite(output).all() for output in outputs):
            raise ModelError(f"model '{self.net.config.name}' gave numbers that are not finite")

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array, dtype=torch.float32, device=self.device)


def to_uint8(image: Tensor) -> np.ndarray:
    """(3, H, W) 0..1 -> (H, W, 3) uint8."""
    return (image.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
