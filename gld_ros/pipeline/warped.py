# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Synthesis conditioned on the warped sources, one target at a time (mini)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gld_ros.errors import NoContext
from gld_ros.geometry.cameras import Camera
from gld_ros.models.matching import SourceDepth
from gld_ros.pipeline.method import Callback, Options, Reporter, Synthesis
from gld_ros.pipeline.native import NativeSources, compose, native_sources
from gld_ros.pipeline.presets import EXACT
from gld_ros.pipeline.request import RelativeFrame
from gld_ros.pipeline.scale import find_scale
from gld_ros.pipeline.synthesis import condition, decode, resize, sample, source_geometry
from gld_ros.pipeline.views import Scale, SourceView, View


@dataclass
class PreparedSources:
    """The sources of a request, encoded. images: (1, V, 3, h, w) at the working size (h, w); K, c2w, depth follow."""

    frame: RelativeFrame
    size: tuple[int, int]
    images: Tensor
    K: Tensor
    c2w: Tensor
    depth: SourceDepth
    scale: Scale
    native: NativeSources


class WarpedSynthesis(Synthesis):
    """Sources' depth, warp, diffusion of what it lacks, observed pixels at their own resolution."""

    def synthesize(
        self, sources: Sequence[SourceView], targets: Sequence[Camera], options: Options, callback: Callback | None
    ) -> list[View]:
        how1, how0 = options.sampling(self.net.config.flow)
        report = Reporter(callback, (how1.steps, how0.steps), len(targets), options.timer)
        settings = self.encoding(options)
        prepared: PreparedSources = self.recent.get(sources, settings, lambda: self.prepare(sources, *settings))
        report("encode", 0)
        views: list[View] = []
        for number, target in enumerate(targets):
            if views and not options.timer.allows_view():
                break
            target_K, target_c2w = self.cameras([target], prepared.frame, prepared.size)
            generator = torch.Generator().manual_seed(options.seed + number)
            with self.autocast():
                posed = prepared.images, prepared.K, prepared.c2w, prepared.depth
                given = condition(self.net, *posed, target_K[:, 0], target_c2w[:, 0], how1.guided or how0.guided)
                if not given.warped.seen.any():
                    raise NoContext(f"target {number}: nothing that the sources see is in its picture")
                preview = given.warped.image[0]
                options.timer.done("condition")
                noise = torch.randn(2, *given.level1.shape, generator=generator).to(self.device)
                on_step = partial(report, "level1", preview=preview)
                level1 = sample(
                    self.engine, self.net, self.net.level1, given.level1, given, noise[0], how1, None, on_step
                )
                on_step = partial(report, "level0", preview=preview)
                level0 = given.level0
                if how0.steps:
                    level0 = sample(
                        self.engine, self.net, self.net.cascade, level0, given, noise[1], how0, level1, on_step
                    )
                composite, _ = decode(self.net, level0, level1, given)
            pixels = compose(prepared.native, composite, given, target, prepared.frame, options.preset.pixels)
            views.append(self.view(pixels, target, sources, prepared.scale, options))
            report("decode", 1, composite.image[0])
        return views

    def encoding(self, options: Options) -> tuple[tuple[int, int], int]:
        return options.size, options.preset.pixels

    @torch.inference_mode()
    def prepare(
        self, sources: Sequence[SourceView], size: tuple[int, int], limit: int = EXACT.pixels
    ) -> PreparedSources:
        """Encode the sources, find their depth and its scale. limit: pixels of a camera that are worked on, at most.

        Raises ScaleUnknown.
        """
        frame = RelativeFrame([s.camera for s in sources])
        pictures = [self.picture(s.image) for s in sources]
        images = torch.cat([resize(p[None, None], size) for p in pictures], dim=1)
        K, c2w = self.cameras([s.camera for s in sources], frame, size)
        with self.autocast():
            geometry, stereo = source_geometry(self.net, images, K, c2w)
        depth, scale = find_scale(sources, geometry, stereo, K, c2w, frame, self.min_baseline)
        native = native_sources(pictures, sources, images, depth, frame, limit)
        return PreparedSources(frame, size, images, K, c2w, depth, scale, native)
