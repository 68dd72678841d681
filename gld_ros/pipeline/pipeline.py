# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""GLDPipeline: posed images and target cameras in, views out."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gld_ros.calibration import Calibration
from gld_ros.confidence import check_novelty, combine
from gld_ros.errors import ModelError, RequestTimeout
from gld_ros.generators.base import Generator, families, family_of
from gld_ros.generators.devices import check_offload, check_quantize, in_memory, usable_device
from gld_ros.generators.request import Callback, Loading, Report, Request, fingerprint
from gld_ros.geometry.cameras import Camera
from gld_ros.pipeline.deadline import SIZES, Deadline, Speed, smaller
from gld_ros.pipeline.request import check_options, check_request, warn_of_poses
from gld_ros.pipeline.windows import next_window, with_sources
from gld_ros.views import ObservedDepth, SourceView, View
from gld_ros.weights.hub import resolve
from gld_ros.weights.layout import DTYPES

#: Made-up sources to warm up: metres between neighbouring cameras, and to the wall that they see.
BASELINE, DISTANCE = 0.1, 2.0


class GLDPipeline:
    """Holds a loaded model, then synthesizes views on request. Not re-entrant: one thread owns it."""

    def __init__(self, generator: Generator):
        self.generator, self.speed = generator, Speed()

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        offload: str | None = None,
        min_baseline: float = 0.01,
        revision: str | None = None,
        local_files_only: bool = False,
        compile: bool = False,
        quantize: str | None = None,
    ) -> GLDPipeline:
        """`name`: "mini", "gld-da3", "gld-vggt", a model folder (ours or in the official layout) or a Hub id.

        What is not on disk is downloaded (revision: commit of the Hub repository; local_files_only: an error instead).
        device: "cpu" or "cuda", the best there is by default. dtype: "float32" or "bfloat16", of the weights and to
        compute in; bfloat16 by default where it is fast. offload: "sequential" keeps only the component at work on the
        device. min_baseline: mean distance between cameras, in the poses' unit (metres), below which no scale is
        claimed: it has to stand well above the noise of the poses. compile: the diffusion networks, for each shape at
        its first use, see `warm_up`. quantize: "int8" or "fp8" weights, needs torchao. Neither goes together with
        offload. Raises ModelError that names what is missing, broken or does not fit, and OutOfMemory with the estimate
        where the device cannot hold the model (the released ones: before anything is downloaded).
        """
        chosen = usable_device(device)
        check_offload(offload)
        check_quantize(quantize)
        if dtype is not None and dtype not in (*DTYPES, *DTYPES.values()):
            raise ModelError(f"dtype is '{dtype}', expected one of {sorted(DTYPES)}")
        asked = DTYPES[dtype] if isinstance(dtype, str) else dtype
        loading = Loading(chosen, asked, offload, min_baseline, compile, quantize)
        for family in families().values():
            family.check_download(str(name), loading)
        folder = resolve(str(name), revision, local_files_only)
        return cls(family_of(folder).load(folder, loading))

    @property
    def name(self) -> str:
        return self.generator.name

    @property
    def device(self) -> torch.device:
        return self.generator.device

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of the stated spread; depth intervals need it."""
        return self.generator.calibration

    @property
    def calibrated(self) -> bool:
        return self.calibration is not None

    @property
    def max_sources(self) -> int:
        return self.generator.limits.max_sources

    @property
    def max_views(self) -> int:
        """Most sources and targets that are generated together; 0 means no limit."""
        return self.generator.limits.max_views

    def __call__(
        self,
        sources: Sequence[SourceView],
        targets: Sequence[Camera],
        *,
        preset: str = "exact",
        steps: int | None = None,
        guidance_scale: float | None = None,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        strict_scale: bool = True,
        time_budget: float | None = None,
        samples: int = 1,
        max_novelty: float = 1.0,
        earlier: Sequence[View] = (),
        observed_pixels: bool | None = None,
        callback: Callback | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> list[View]:
        """Synthesize one View a target, each of its camera's size.

        Up to `max_views` sources and targets are generated together. More targets follow in windows (`windows.py`), so
        that all views show one world. earlier: views of former calls whose world these shall show, too; what they
        show and the sources do not is taken over and counts as generated.

        preset: "exact", "balanced" or "fast". steps: sampling steps of each diffusion stage; guidance_scale: 1 =
        conditional branch alone; both default to the preset's, which may take fewer steps for targets near the sources.
        size: (H, W) the model works at, multiples of its patch, by default the model's. The same seed gives the same
        views.
        strict_scale: of the released models: refuse views whose geometry contradicts the poses; otherwise warn.
        observed_pixels: take what a source saw from that source, at the camera's own resolution, and leave only the
        rest to the model; by default mini does and the released models do not. samples: drawn with `seed`, `seed` + 1,
        ... and joined to one view (`confidence.combine`), at most MAX_SAMPLES. max_novelty: refuse targets that go
        farther beyond the sources (`confidence.novelty`, 0..1).
        options: what only the model's family can be asked, such as a Gen3R's prompt (`gen3r_family.ClipOptions`).
        Raises InvalidRequest, NoContext, ScaleUnknown, OutOfMemory, ModelError, and whatever `callback` raises to end
        the request.

        time_budget: seconds until the views have to be here. preset, steps and size are then the most that is wanted,
        and what fits is chosen by running means of the times that earlier requests (`warm_up`, too) took; a first
        request starts as it was asked for. Where it gets late nevertheless, steps are left out (`View.complete`).
        Targets that do not fit are left out from the end. RequestTimeout comes at once where not even one would fit,
        and instead of a view that is later than the budget by 10 % and 50 ms. Samples share the budget; those after
        the first for which there is no time are left out (`View.samples`).
        """
        deadline = Deadline(self.speed, self.clock, time_budget)
        check_request(sources, targets, self.name, self.generator.limits, size, earlier)
        check_options(time_budget, samples)
        self.generator.check_options(options or {})
        warn_of_poses(sources, targets)
        found = check_novelty(sources, targets, max_novelty)
        size = size or self.generator.working_size(sources[0].camera)
        chosen = self.generator.preset(preset).at(found).changed(steps, guidance_scale)
        request = Request(
            sources, targets, size, chosen, seed, strict_scale, observed_pixels, fingerprint(sources),
            options=options or {},
        )  # fmt: skip
        together = self.generator.together(len(sources), request.options)
        choose, limit, count = with_sources(sources), together and together - len(earlier), len(targets)
        drawn: list[list[View]] = [[]]  # [sample][target]
        with torch.inference_mode(), in_memory(request.views, self.device, self.forget):
            while len(drawn) < samples or len(drawn[-1]) < count:
                if len(drawn[-1]) == count:
                    drawn.append([])
                k, made = len(drawn) - 1, drawn[-1]
                window = next_window(made, targets[len(made) : count], limit, choose)
                before = [*(view.sample(k) for view in earlier), *window.earlier]
                wanted = replace(request, seed=seed + k, targets=window.targets, earlier=before)
                done, all_views, views = k * count + len(made), samples * count, len(window.targets)
                try:
                    planned = deadline.plan(self.generator, wanted, steps, (all_views - done) / views)
                    report = Report(planned, callback, deadline.done, (done / all_views, views / all_views))
                    rendering = self.generator.generate(planned, report)
                    made += self.generator.views(rendering, planned, report)
                    if len(planned.targets) < views:  # there is no time for the others
                        count = len(made)
                except RequestTimeout:
                    if drawn[0]:
                        break
                    if samples == 1:
                        raise
                    samples = 1  # there may be time for one
        return [combine([sample[t] for sample in drawn if t < len(sample)]) for t in range(len(drawn[0]))]

    def warm_up(
        self, sources: int = 2, targets: int = 1, size: tuple[int, int] = (480, 640), preset: str = "exact"
    ) -> None:
        """Made-up requests of that many views, so that the next one finds everything loaded, compiled and allocated,
        and that the times of its phases are known.

        size: (H, W) of the cameras. A compiled pipeline compiles here what such requests by this preset need.
        """
        self.generator.limits.check_views(self.name, sources, targets)

        def made_up(size: tuple[int, int], steps: int) -> Request:
            views, cameras = made_up_views(sources, targets, size)
            working, chosen = self.generator.working_size(cameras[0]), self.generator.preset(preset).capped(steps)
            return Request(views, cameras, working, chosen, strict_scale=False, key=fingerprint(views))

        # Few steps, but some with guidance and some without. The times of the second request count: they are those of
        # a machine that is warm. A CPU is after a small one; on a GPU or with compiled networks each shape counts, and
        # the second time CUDA graphs are recorded.
        full = made_up(size, 4)
        by_shape = self.device.type != "cpu" or self.generator.loading.compile
        H, W = (min(side, max(side // 4, 64)) for side in size)
        first = full if by_shape else made_up((H, W), 2)
        for speed, request in ((Speed(), first), (self.speed, full)):
            self.forget()
            with warnings.catch_warnings(), torch.inference_mode(), in_memory("warming up", self.device, self.forget):
                warnings.simplefilter("ignore")  # of a scene that no model was trained on
                deadline = Deadline(speed, self.clock)
                report = Report(deadline.plan(self.generator, request), None, deadline.done)
                self.generator.views(self.generator.generate(request, report), request, report)
        self.forget()

    def observed_depth(self, sources: Sequence[SourceView]) -> list[ObservedDepth]:
        """Depth of each source from all of them; costs nothing new where a request had the same sources a moment ago.

        Models that triangulate nothing (the released ones) have what a depth sensor measured, else it is empty. Raises
        InvalidRequest, ScaleUnknown.
        """
        check_request(sources, [sources[0].camera], self.name, self.generator.limits)
        size = self.generator.working_size(sources[0].camera)
        return self.generator.observed_depth(sources, (size, self.generator.preset("exact").pixels))

    def just_observed(self, sources: Sequence[SourceView]) -> list[ObservedDepth]:
        """`observed_depth` as a recent request with these sources found it; empty without one."""
        return self.generator.observed_depth(sources)

    def clock(self) -> float:
        """Seconds, when the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()

    def smaller_sizes(self, camera: Camera) -> list[tuple[int, int]]:
        """Values of `size` that take less memory than the default for such a camera, the largest first."""
        usual, patch = self.generator.working_size(camera), self.generator.limits.patch
        return [smaller(usual, share, patch) for share in SIZES]

    def forget(self) -> None:
        """Drop what is kept of the sources of recent requests; with the same ones again only the targets cost time."""
        self.generator.forget()


def made_up_views(sources: int, targets: int, size: tuple[int, int]) -> tuple[list[SourceView], list[Camera]]:
    """Coloured noise on a wall: sources of size (H, W) with depth images, so that any weights find a scale, side by
    side, and target cameras between them."""
    H, W = size
    K = np.array([[0.8 * W, 0, W / 2], [0, 0.8 * W, H / 2], [0, 0, 1]])
    image = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)

    def camera(x: float) -> Camera:
        c2w = np.eye(4)
        c2w[0, 3] = BASELINE * x
        return Camera(K, c2w, W, H)

    depth = np.full(size, DISTANCE, np.float32)
    views = [SourceView(image, camera(k), depth=depth) for k in range(sources)]
    return views, [camera(k + 0.5) for k in range(targets)]
