# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The words between families of models and the pipeline: limits, presets, a request, its progress, its pixels.

And what is kept of recent requests: a robot that stands still asks again with the same sources.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gld_ros.diffusion.sampler import Sampling
from gld_ros.errors import InvalidRequest
from gld_ros.generators.native import PIXELS, Pixels, to_uint8
from gld_ros.geometry.cameras import Camera
from gld_ros.views import Progress, Scale, SourceView, View

#: Names of the presets that every family has, the best first.
PRESETS = ("exact", "balanced", "fast")
#: Novelty (0..1) up to which a target shows mostly what the sources saw.
NEAR = 0.4
Callback = Callable[[Progress], None]


@dataclass(frozen=True)
class Limits:
    """Limits of a family. patch: working sizes are its multiples, pixels. max_views: sources and targets of a request
    together, 0 without limit. any_size: it may work at any size, not only about its own. native: it takes what a source
    saw from there, at the camera's own resolution, unless asked otherwise. all_frames: more sources than `max_sources`
    may be given as all frames of a clip."""

    patch: int
    max_sources: int
    max_views: int = 0
    any_size: bool = True
    native: bool = False
    all_frames: bool = False

    def check_views(self, name: str, sources: int, targets: int, earlier: int = 0) -> None:
        """Raise InvalidRequest for numbers of sources and targets that the model `name` does not take."""
        frames = self.all_frames and sources > self.max_sources
        if not frames and not 1 <= sources <= self.max_sources:
            raise InvalidRequest(f"{sources} source views, expected 1 to {self.max_sources}")
        if targets < 1:
            raise InvalidRequest("no target cameras, expected at least one")
        if frames:
            return
        if self.max_views and sources + earlier + targets > self.max_views:
            limit = f"'{name}' makes at most {self.max_views} views together"
            before = f", {earlier} earlier views" * (earlier > 0)
            raise InvalidRequest(f"{sources} sources{before} and {targets} targets: {limit}")

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise InvalidRequest unless the working size (H, W) is made of whole patches."""
        if min(size) < self.patch or size[0] % self.patch or size[1] % self.patch:
            raise InvalidRequest(f"size {size[1]}x{size[0]}: width and height must be multiples of {self.patch} pixels")


@dataclass(frozen=True)
class Preset:
    """The sampling of every diffusion phase, by its name. pixels: observed pixels are taken from the sources at the
    cameras' own resolution up to so many; larger views are enlarged. near: how it is sampled where no target's novelty
    is above `NEAR`, None for no difference."""

    name: str
    sampling: Mapping[str, Sampling]
    pixels: int = PIXELS
    near: Mapping[str, Sampling] | None = None

    def at(self, novelty: float) -> Preset:
        """The preset for a request whose targets go that far beyond the sources, 0..1."""
        if self.near is None or novelty > NEAR:
            return replace(self, near=None)
        return replace(self, sampling=self.near, near=None)

    @property
    def steps(self) -> int:
        """Most steps of a phase."""
        return max(how.steps for how in self.sampling.values())

    def changed(self, steps: int | None = None, guidance_scale: float | None = None) -> Preset:
        """With this number of steps (None or 0: its own) and this guidance in all phases. Raises InvalidRequest."""
        if steps is not None and steps < 0:
            raise InvalidRequest(f"{steps} sampling steps, expected at least 1")
        if guidance_scale is not None and not math.isfinite(guidance_scale):
            raise InvalidRequest(f"guidance scale {guidance_scale}, expected a finite number")

        def change(how: Sampling) -> Sampling:
            guidance = how.guidance_scale if guidance_scale is None else guidance_scale
            return replace(how, steps=steps or how.steps, guidance_scale=guidance)

        return self._sampled(change)

    def capped(self, steps: int | None) -> Preset:
        """With at most this number of steps in each phase; None: no limit."""
        return self._sampled(lambda how: replace(how, steps=min(steps or how.steps, how.steps)))

    def _sampled(self, change: Callable[[Sampling], Sampling]) -> Preset:
        return replace(self, sampling={phase: change(how) for phase, how in self.sampling.items()})


@dataclass(frozen=True)
class Request:
    """One sample of one request.

    size: (H, W) the model works at. preset: with the asked steps and guidance in it. strict_scale: refuse where
    generated geometry contradicts the poses, instead of warning. observed_pixels: take what a source saw from there,
    None for the family's way. key: fingerprint of the sources. earlier: views that were generated before, whose world
    the targets show; none of them counts as observed. options: those that only the model's family has.
    """

    sources: Sequence[SourceView]
    targets: Sequence[Camera]
    size: tuple[int, int]
    preset: Preset
    seed: int = 0
    strict_scale: bool = True
    observed_pixels: bool | None = None
    key: bytes = b""
    earlier: Sequence[View] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def views(self) -> str:
        """The numbers of views, for messages."""
        return f"{len(self.sources)} sources, {len(self.targets)} targets"

    @property
    def cameras(self) -> list[Camera]:
        """The cameras of the sources, then of the targets."""
        return [*(source.camera for source in self.sources), *self.targets]


class Report:
    """Called after each step of a request: tells the callback, and `done` whether the phase has to end.

    Phases are "encode", those that the preset samples, "decode"; the callback hears of no others. part: where this
    request begins in the whole that was asked for, and its share of that, 0..1. cut: steps were left out.
    """

    def __init__(
        self,
        request: Request,
        callback: Callback | None = None,
        done: Callable[[str], bool] = lambda phase: False,
        part: tuple[float, float] = (0.0, 1.0),
    ):
        sampled = {phase: how.steps for phase, how in request.preset.sampling.items()}
        self._steps = {"encode": 1, **sampled, "decode": 1}
        self._callback, self._done, (self._before, self._share) = callback, done, part
        self._reported = dict.fromkeys(self._steps, 0)
        self.cut = False

    def __call__(self, phase: str, preview: Tensor | None = None) -> bool:
        """preview: small picture (3, h, w). True: further steps of the phase have to be left out.

        Raises RequestTimeout, or as the callback does.
        """
        if phase in self._steps:
            self._reported[phase] += 1
            if self._callback is not None:
                picture = None if preview is None else to_uint8(preview)
                share = sum(self._reported.values()) / sum(self._steps.values())
                fraction = self._before + share * self._share
                self._callback(Progress(phase, self._reported[phase], self._steps[phase], fraction, picture))
        late = self._done(phase)
        self.cut |= late
        return late


@dataclass
class Rendering:
    """The answer of a family to a request. pixels: of every target, at its camera's size; preview: (3, h, w); cameras:
    of the views, where the model chose them instead of the targets; estimated: see `View.estimated_c2w`."""

    pixels: list[Pixels]
    scale: Scale
    preview: Tensor | None = None
    cameras: Sequence[Camera] | None = None
    estimated: Sequence[np.ndarray] | None = None


@dataclass(frozen=True)
class Loading:
    """The options that a model is loaded with, see `GLDPipeline.from_pretrained`. dtype: None for the device's best."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype | None = None
    offload: str | None = None
    min_baseline: float = 0.01
    compile: bool = False
    quantize: str | None = None


class Recent:
    """Keeps what was made for the last few keys; the longest unused is dropped first.

    Keys are (fingerprint, settings): encoders look at all sources together, hence a set of them is the smallest thing
    that can be kept.
    """

    def __init__(self, capacity: int = 4) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[tuple[bytes, Any], Any] = OrderedDict()

    def get(self, key: tuple[bytes, Any], make: Callable[[], Any]) -> Any:
        """The result of `make` for this key; it is called now, if need be. Raises what `make` raises."""
        if key not in self._kept:
            while len(self._kept) >= self._capacity:  # before: the device may not hold one more
                self._kept.popitem(last=False)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        return self._kept[key]

    def newest(self, sources: bytes) -> Any | None:
        """The newest of the sources with this fingerprint, None without one."""
        return next((made for key, made in reversed(self._kept.items()) if key[0] == sources), None)

    def __contains__(self, key: tuple[bytes, Any]) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        self._kept.clear()


def fingerprint(sources: Sequence[SourceView]) -> bytes:
    """Digest of the pixels, cameras, depths and masks of sources, whatever object holds them; stamps do not count."""
    digest = hashlib.sha256()  # 1.5 ms for 1280x720
    for source in sources:
        camera, extra = source.camera, (source.depth, source.mask)
        digest.update(repr((camera.width, camera.height, *(array is None for array in extra))).encode())
        for array in (camera.K, camera.c2w, source.image, *(array for array in extra if array is not None)):
            digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
