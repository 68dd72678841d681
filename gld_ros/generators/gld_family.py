# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The family GLD: the released models, and mini, which is conditioned on the warped sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gld_ros.confidence import confidence
from gld_ros.errors import ModelError
from gld_ros.generators.base import Generator
from gld_ros.generators.devices import in_memory
from gld_ros.generators.gld import Generated, LatentDiffusion, SourceLatents
from gld_ros.generators.gld_setup import (
    check_memory,
    check_tensors,
    presets,
    sampling_flops,
    weights_dtype,
    work,
    working_size,
)
from gld_ros.generators.native import (
    PIXELS,
    NativeSources,
    Pixels,
    at_size,
    camera_tensors,
    generated_parts,
    measured_pixels,
    native_sources,
    paste_observed,
    pixels_of,
    shared,
    source_pictures,
    to_uint8,
    usable_pixels,
)
from gld_ros.generators.request import Limits, Loading, Preset, Rendering, Report, Request, fingerprint
from gld_ros.generators.scale import find_scale, geometry_spread, joint_scale
from gld_ros.generators.warping import aligned, without_excluded
from gld_ros.geometry.cameras import Camera, RelativeFrame
from gld_ros.geometry.warp import forward_warp
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.posed_depth import SourceDepth
from gld_ros.networks.released import MODELS
from gld_ros.views import ObservedDepth, Scale, SourceView
from gld_ros.weights.layout import open_folder
from gld_ros.weights.loading import load_calibration, load_model


@dataclass
class PosedSources:
    """Depth of the sources that their poses gave, before anything is generated. depth: (1, S, h, w) in the frame's
    unit, at the working size; native: colours and depth at the cameras' own resolution."""

    frame: RelativeFrame
    depth: SourceDepth
    scale: Scale
    native: NativeSources


@dataclass
class Encoded:
    """The sources, encoded once and kept. images: (1, S, 3, h, w) at the working size; posed: of models with warp
    conditioning."""

    images: Tensor
    latents: SourceLatents
    posed: PosedSources | None


class GLD(Generator):
    """A GLD on one device. `diffusion` is the method on tensors."""

    net: GLDNetworks
    has_levels = True

    def __init__(self, net: GLDNetworks, loading: Loading = Generator.loading):
        super().__init__()
        self.net, self.loading, self.diffusion = net, loading, LatentDiffusion(net, loading)
        self.dtype, self.warps, self.min_baseline = self.diffusion.dtype, net.config.warps, loading.min_baseline

    @classmethod
    def load(cls, folder: Path, loading: Loading) -> GLD:
        config = open_folder(folder).config
        check_memory(config, loading)
        calibration, home = load_calibration(folder), torch.device("cpu") if loading.offload else loading.device
        net = load_model(folder, home, weights_dtype(config, loading))
        gld = cls(net, loading)
        gld.calibration = calibration
        return gld

    @classmethod
    def check_download(cls, name: str, loading: Loading) -> None:
        if (bare := name.partition("@")[0]) in MODELS and not Path(bare).exists():
            check_memory(MODELS[bare], loading)

    @classmethod
    def of(cls, generator: Generator) -> GLD:
        """`generator`, for what is only known of GLD. Raises ModelError for another family."""
        if not isinstance(generator, cls):
            raise ModelError(f"model '{generator.name}' is of another family; this needs a GLD")
        return generator

    @property
    def name(self) -> str:
        return self.net.config.name

    @property
    def limits(self) -> Limits:
        config = self.net.config
        return Limits(config.encoder.patch, config.max_sources, config.max_views, not self.warps, self.warps)

    @property
    def has_rays(self) -> bool:
        return self.net.config.dpt is not None and self.net.config.dpt.aux_convs > 0

    @property
    def presets(self) -> dict[str, Preset]:
        return presets(self.net.config)

    def working_size(self, camera: Camera) -> tuple[int, int]:
        return working_size(camera, self.net.config)

    def phases(self, request: Request) -> dict[str, list[float]]:
        context = self.context(request)
        kept = context is request and self.keeps(request)
        return work(self.net.config, context, kept, self.native(request))

    def flops(self, request: Request) -> float:
        return sampling_flops(self.net.config, request.preset, request.size, len(self.context(request).cameras))

    def native(self, request: Request) -> bool:
        """True if pixels that a source saw are taken from that source."""
        return self.warps if request.observed_pixels is None else request.observed_pixels

    def context(self, request: Request) -> Request:
        """The request as the networks see it: without warp conditioning, earlier views stand among the sources."""
        if self.warps or not request.earlier:
            return request
        views = [SourceView(view.image, view.camera, depth=view.depth) for view in request.earlier]
        return replace(request, sources=[*request.sources, *views], earlier=())

    def generate_tensors(
        self,
        images: Tensor,
        K: Tensor,
        c2w: Tensor,
        *,
        preset: str = "exact",
        steps: int | None = None,
        guidance_scale: float | None = None,
        noise: tuple[Tensor, Tensor] | None = None,
        seed: int = 0,
    ) -> Generated:
        """The method on tensors: latents, features, images and geometry of all views, in model units.

        images: (B, S, 3, H, W) 0..1 of the sources, H and W multiples of the patch; K: (B, V, 3, 3) pixels of that size
        and c2w: (B, V, 4, 4) of sources, then targets; noise: of levels 1 and 0, drawn from `seed` by default.
        Raises InvalidRequest for shapes, sizes, numbers of views, cameras that cannot be right; OutOfMemory.
        """
        check_tensors(images, K, c2w, self.name, self.limits)
        chosen = self.preset(preset).changed(steps, guidance_scale)
        images, K, c2w = images.to(self.device), K.to(self.device), c2w.to(self.device)
        what = f"{images.shape[1]} sources, {K.shape[1] - images.shape[1]} targets"
        with in_memory(what, self.device, self.forget):
            return self.diffusion.denoise(images, K, c2w, chosen, noise, seed)

    @torch.inference_mode()
    def encode(self, sources: Sequence[SourceView], size: tuple[int, int], detail: int) -> Encoded:
        """Encode the sources and, for warp conditioning, find their depth and its scale. Raises ScaleUnknown.

        detail: see `Preset.pixels`.
        """
        images = source_pictures(sources, size, self.device)
        latents = self.diffusion.latents_of(images)
        if not self.warps:
            return Encoded(images, latents, None)
        cameras = [source.camera for source in sources]
        frame = RelativeFrame(cameras)
        K, c2w = camera_tensors(cameras, frame, size, self.device)
        usable = usable_pixels(sources, size, self.device)
        geometry, stereo = self.diffusion.geometry(images, K, c2w, latents, usable)
        depth, scale = find_scale(sources, geometry, stereo, K, c2w, frame, self.min_baseline)
        native = native_sources(sources, images, depth, frame, detail)
        return Encoded(images, latents, PosedSources(frame, depth, scale, native))

    def generate(self, request: Request, report: Report) -> Rendering:
        if self.net.config.dpt is None:
            raise ModelError(f"model '{self.name}' has no geometry head: depth_head.* of VGGT-1B is missing")
        earlier = [(pixels_of(view, self.device), view.camera) for view in request.earlier]
        context, settings = self.context(request), self.settings(request)
        encoded: Encoded = self.encoded(request) if context is request else self.encode(context.sources, *settings)
        posed = encoded.posed
        frame = RelativeFrame(request.cameras) if posed is None else posed.frame
        K, c2w = camera_tensors(context.cameras, frame, request.size, self.device)
        made = self.diffusion.denoise(
            encoded.images, K, c2w, request.preset, seed=request.seed, report=report,
            latents=encoded.latents, depth=None if posed is None else posed.depth,
            earlier=None if posed is None or not earlier else generated_parts(earlier, frame, request.size),
        )  # fmt: skip
        assert made.geometry is not None
        self.check_finite(made.image, made.geometry.depth)
        geometry = without_excluded(made.geometry, usable_pixels(request.sources, request.size, self.device))
        depth = geometry.depth.float()
        if posed is None:
            strict = request.strict_scale
            scale = joint_scale(context.sources, geometry, K, c2w, frame, self.min_baseline, strict)
            depth = depth * (scale.value / frame.unit)
            if request.earlier:  # their depth only carries on the scale that was found for them
                scale = replace(scale, method=request.earlier[0].scale.method)
        else:
            scale, depth = posed.scale, aligned(depth, posed.depth, made.warped)
        views = SourceDepth(depth, geometry_spread(made.geometry))
        return Rendering(self.pixels(request, encoded, made, views, frame, earlier), scale, made.image[0, -1])

    def pixels(
        self,
        request: Request,
        encoded: Encoded,
        made: Generated,
        views: SourceDepth,
        frame: RelativeFrame,
        earlier: Sequence[tuple[Pixels, Camera]],
    ) -> list[Pixels]:
        """Every target at its camera's size. views: depth and spread of all views in the frame's unit, targets last."""
        S, T, limit = len(request.sources), len(request.targets), request.preset.pixels
        image, metres, spread = made.image[0, -T:].clamp(0, 1), views.depth[0, -T:] * frame.unit, views.spread[0, -T:]
        targets = zip(image, metres, spread, request.targets, strict=True)
        sources = SourceDepth(views.depth[:, :S], views.spread[:, :S])
        if self.native(request):
            native = encoded.posed.native if encoded.posed else None
            native = native or native_sources(request.sources, encoded.images[:, :S], sources, frame, limit)
            found = [paste_observed(native, *target, frame, limit) for target in targets]
            return shared(found, request.targets, frame, earlier)
        K, c2w = camera_tensors(request.cameras, frame, request.size, self.device)
        posed = sources.spread[:, :, None], sources.depth, K[:, :S], c2w[:, :S]
        seen = (forward_warp(*posed, K[:, v], c2w[:, v], request.size).seen[0] for v in range(S, S + T))
        return [at_size(Pixels(i, d, s, shown), t) for (i, d, s, t), shown in zip(targets, seen, strict=True)]

    @torch.inference_mode()
    def observed_depth(
        self, sources: Sequence[SourceView], settings: tuple[tuple[int, int], int] | None = None
    ) -> list[ObservedDepth]:
        encoded: Encoded | None = None
        if settings is None:
            encoded = self.recent.newest(fingerprint(sources))
        elif self.warps:
            encoded = self.recent.get((fingerprint(sources), settings), lambda: self.encode(sources, *settings))
        if encoded is None or encoded.posed is None:
            return [] if self.warps else super().observed_depth(sources)
        native, unit = encoded.posed.native, encoded.posed.frame.unit
        calibration = self.calibration and self.calibration.at_native()
        found = []
        for k, source in enumerate(sources):
            depth = (native.depth[0, k] * unit).float().cpu().numpy()
            stated = native.values[0, k, 3].float().clamp_min(1e-3).cpu().numpy()
            certain = confidence(stated, np.zeros(stated.shape, bool), calibration)
            camera, image = source.camera.resized(depth.shape[1], depth.shape[0]), to_uint8(native.values[0, k, :3])
            found.append(
                ObservedDepth(depth, image, certain, camera, source.stamp, measured_pixels(source, depth.shape))
            )
        return found

    def own_depth(
        self, sources: Sequence[SourceView], size: tuple[int, int]
    ) -> tuple[Tensor, SourceDepth, NativeSources]:
        """Images (1, S, 3, H, W) of the sources and their own depth in the unit of their frame, at the working size
        (H, W) and at the cameras' resolution. Raises ScaleUnknown, and ModelError without a geometry head."""
        encoded = self.encode(sources, size, PIXELS)
        if encoded.posed is not None:
            return encoded.images, encoded.posed.depth, encoded.posed.native
        if self.net.config.dpt is None:
            raise ModelError(f"model '{self.name}' has no geometry head, so no depth of its own")
        cameras = [source.camera for source in sources]
        frame = RelativeFrame(cameras)
        K, c2w = camera_tensors(cameras, frame, size, self.device)
        usable = usable_pixels(sources, size, self.device)
        geometry, _ = self.diffusion.geometry(encoded.images, K, c2w, encoded.latents, usable)
        scale = joint_scale(sources, geometry, K, c2w, frame, self.min_baseline, strict=False)
        depth = SourceDepth(geometry.depth.float() * (scale.value / frame.unit), geometry_spread(geometry))
        return encoded.images, depth, native_sources(sources, encoded.images, depth, frame, PIXELS)
