# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests answered: source views and target cameras in, one View a target out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gld_ros.confidence import Calibration, confidence, novelty
from gld_ros.diffusion.sampler import Sampler
from gld_ros.errors import ModelError, NoContext
from gld_ros.generators.generation import Generated, Generation, SourceLatents
from gld_ros.generators.method import Callback, Options, Pixels, Reporter, at_size, resize, to_uint8
from gld_ros.generators.native import NativeSources, native_sources, paste_observed
from gld_ros.generators.offload import Residency
from gld_ros.generators.recent import RecentSources
from gld_ros.generators.scale import find_scale, geometry_spread, joint_scale
from gld_ros.generators.warping import align
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.frame import RelativeFrame
from gld_ros.geometry.warp import forward_warp
from gld_ros.networks.posed_depth import SourceDepth
from gld_ros.views import Scale, SourceView, View


@dataclass
class PosedSources:
    """Depth of the sources that their poses gave, before anything was generated. depth: (1, S, h, w) in the frame's
    unit, at the working size; native: colours and depth at the cameras' own resolution."""

    frame: RelativeFrame
    depth: SourceDepth
    scale: Scale
    native: NativeSources


@dataclass
class PreparedSources:
    """The sources, encoded once and kept for further requests. images: (1, S, 3, h, w) at the working size;
    posed: of models with warp conditioning."""

    images: Tensor
    latents: SourceLatents
    posed: PosedSources | None


class Synthesis(Generation):
    """From posed source images to views.

    min_baseline: mean distance between cameras, in the poses' unit, below which no scale is claimed.
    """

    def __init__(self, residency: Residency, dtype: torch.dtype, min_baseline: float, sampler: Sampler | None = None):
        super().__init__(residency, dtype, sampler)
        self.min_baseline = min_baseline
        self.recent: RecentSources[PreparedSources] = RecentSources()
        self.calibration: Calibration | None = None

    def synthesize(
        self, sources: Sequence[SourceView], targets: Sequence[Camera], options: Options, callback: Callback | None
    ) -> list[View]:
        """One View a target, each of its camera's size. Raises ScaleUnknown, NoContext, ModelError, and what `callback`
        raises."""
        if self.net.config.dpt is None:
            raise ModelError(f"model '{self.net.config.name}' has no geometry head: depth_head.* of VGGT-1B is missing")
        sampling = options.sampling(self.net.config.flow)
        report = Reporter(callback, (sampling[0].steps, sampling[1].steps), timer=options.timer)
        settings = self.encoding(options)
        prepared = self.recent.get(sources, settings, lambda: self.prepare(sources, *settings))
        posed = prepared.posed
        cameras = [s.camera for s in sources] + list(targets)
        frame = RelativeFrame(cameras) if posed is None else posed.frame
        K, c2w = self.cameras(cameras, frame, options.size)
        generator = torch.Generator().manual_seed(options.seed)
        made = self.generate(
            prepared.images, K, c2w, sampling, generator=generator, on_step=report, given=prepared.latents,
            depth=None if posed is None else posed.depth,
        )  # fmt: skip
        assert made.geometry is not None
        self.check_finite(made.image, made.geometry.depth)
        depth, scale = self.depths(sources, made, K, c2w, frame, posed, options)
        spread = geometry_spread(made.geometry)
        pixels = self.pixels(sources, targets, made, depth, spread, frame, prepared, options)
        views = [self.view(p, target, sources, scale, options) for p, target in zip(pixels, targets, strict=True)]
        report("decode", 1, made.image[0, -1])
        return views

    def depths(
        self,
        sources: Sequence[SourceView],
        made: Generated,
        K: Tensor,
        c2w: Tensor,
        frame: RelativeFrame,
        posed: PosedSources | None,
        options: Options,
    ) -> tuple[Tensor, Scale]:
        """Depth (1, V, h, w) of all views in the frame's unit, and the scale it was given.

        The head's depth of all views has one unit. Where the sources' depth is known, it is aligned with that, in the
        sources and wherever the targets show what they saw.
        """
        assert made.geometry is not None
        depth = made.geometry.depth.float()
        if posed is None:
            scale = joint_scale(sources, made.geometry, K, c2w, frame, self.min_baseline, options.strict_scale)
            return depth * (scale.value / frame.unit), scale
        assert made.warped is not None
        seen = torch.cat([torch.ones_like(posed.depth.depth, dtype=torch.bool), made.warped.seen], dim=1)
        known = torch.cat([posed.depth.depth, made.warped.depth], dim=1)
        for number, target in enumerate(made.warped.seen[0]):
            if not target.any():
                raise NoContext(f"target {number}: nothing that the sources see is in its picture")
        return depth * align(depth, known, seen)[:, None, None, None], posed.scale

    def pixels(
        self,
        sources: Sequence[SourceView],
        targets: Sequence[Camera],
        made: Generated,
        depth: Tensor,
        spread: Tensor,
        frame: RelativeFrame,
        prepared: PreparedSources,
        options: Options,
    ) -> list[Pixels]:
        """Image, depth in metres, spread and what some source saw of every target, at its camera's size."""
        S = len(sources)
        views = zip(made.image[0, S:].clamp(0, 1), depth[0, S:] * frame.unit, spread[0, S:], targets, strict=True)
        observed = self.net.config.warps if options.observed_pixels is None else options.observed_pixels
        if not observed:
            K, c2w = self.cameras([*(s.camera for s in sources), *targets], frame, options.size)
            shown = (
                forward_warp(spread[:, :S, None], depth[:, :S], K[:, :S], c2w[:, :S], K[:, v], c2w[:, v], options.size)
                for v in range(S, K.shape[1])
            )
            return [at_size(Pixels(i, d, s, w.seen[0]), t) for (i, d, s, t), w in zip(views, shown, strict=True)]
        limit = options.preset.pixels
        if prepared.posed is not None:
            native = prepared.posed.native
        else:
            own = SourceDepth(depth[:, :S], spread[:, :S])
            native = self.native(sources, prepared.images, own, frame, limit)
        return [paste_observed(native, i, d, s, t, frame, limit) for i, d, s, t in views]

    def encoding(self, options: Options) -> tuple[tuple[int, int], int]:
        """The options that the kept sources depend on."""
        return options.size, options.preset.pixels

    @torch.inference_mode()
    def prepare(self, sources: Sequence[SourceView], size: tuple[int, int], limit: int) -> PreparedSources:
        """Encode the sources and, for warp conditioning, find their depth and its scale.

        limit: pixels of a camera that are worked on, at most. Raises ScaleUnknown.
        """
        images = self.pictures(sources, size)
        latents = self.encode(images)
        if not self.net.config.warps:
            return PreparedSources(images, latents, None)
        frame = RelativeFrame([s.camera for s in sources])
        K, c2w = self.cameras([s.camera for s in sources], frame, size)
        geometry, stereo = self.geometry(images, K, c2w, latents)
        depth, scale = find_scale(sources, geometry, stereo, K, c2w, frame, self.min_baseline)
        native = self.native(sources, images, depth, frame, limit)
        return PreparedSources(images, latents, PosedSources(frame, depth, scale, native))

    def native(
        self, sources: Sequence[SourceView], images: Tensor, depth: SourceDepth, frame: RelativeFrame, limit: int
    ) -> NativeSources:
        """The sources at their own resolution, see `native_sources`."""
        pictures = [self.picture(s.image) for s in sources]
        return native_sources(pictures, sources, images, depth, frame, limit)

    def forget(self) -> None:
        """Drop what is kept of the sources of recent requests."""
        self.recent.clear()

    def cameras(self, cameras: Sequence[Camera], frame: RelativeFrame, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """K (1, V, 3, 3) at the working size (H, W) and c2w (1, V, 4, 4) in the request's own frame, float32."""
        K = np.stack([c.resized(size[1], size[0]).K for c in cameras])
        c2w = np.stack([frame.relative(c.c2w) for c in cameras])
        return self._tensor(K)[None], self._tensor(c2w)[None]

    def pictures(self, sources: Sequence[SourceView], size: tuple[int, int]) -> Tensor:
        """(1, S, 3, H, W) float 0..1 on the device."""
        return torch.cat([resize(self.picture(s.image)[None, None], size) for s in sources], dim=1)

    def picture(self, image: np.ndarray) -> Tensor:
        """(3, H, W) float 0..1 on the device, of (H, W, 3) uint8."""
        return torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1).float() / 255

    def view(
        self, pixels: Pixels, target: Camera, sources: Sequence[SourceView], scale: Scale, options: Options
    ) -> View:
        """A View of pixels at the target's size."""
        calibration = self.calibration
        if calibration and (target.height, target.width) != options.size:
            calibration = calibration.at_native()
        self.check_finite(pixels.image, pixels.depth[pixels.depth == pixels.depth])
        stated, generated = pixels.spread.float().cpu().numpy(), (~pixels.seen).cpu().numpy()
        return View(
            camera=target,
            image=to_uint8(pixels.image),
            depth=pixels.depth.float().cpu().numpy(),
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
