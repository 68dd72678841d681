# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The family Gen3R: a request becomes a clip along a camera path, and the clip gets back its metres.

It takes one source, two, or all frames of the clip. Frames are square; of wider images they show the middle.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from gld_ros.diffusion.sampler import Sampling
from gld_ros.errors import InvalidRequest, ModelError, ScaleUnknown
from gld_ros.generators.base import Generator
from gld_ros.generators.clip_path import ClipPath, check_frames, clip_path
from gld_ros.generators.devices import quantize
from gld_ros.generators.framing import covered_camera, covered_images, covered_source, uncovered
from gld_ros.generators.gen3r import Clip, Given, JointDiffusion
from gld_ros.generators.gen3r_memory import check_memory, weights_dtype
from gld_ros.generators.gen3r_scale import clip_scale, generated_cameras, has_metres, model_units, some
from gld_ros.generators.native import Pixels, camera_tensors, usable_pixels
from gld_ros.generators.request import Limits, Loading, Preset, Rendering, Report, Request, fingerprint
from gld_ros.geometry.cameras import Camera, RelativeFrame
from gld_ros.geometry.warp import forward_warp
from gld_ros.networks.gen3r.configs import Gen3RConfig
from gld_ros.networks.gen3r.geometry import ClipGeometry
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.networks.gen3r.transformer import evaluation_flops
from gld_ros.settings import explain
from gld_ros.views import SourceView
from gld_ros.weights.layout import open_folder
from gld_ros.weights.loading import load_networks
from gld_ros.weights.text_states import TextStates

PHASE = "clip"
#: Expected log error at least of depths at the ends of a frame's range, which the release leaves out of clouds.
UNRELIABLE = 1.0


class ClipOptions(BaseModel, frozen=True, extra="forbid"):
    """Options that only a Gen3R has; values may be text, as a command line has them.

    prompt: what is wanted, empty for nothing in particular. negative_prompt: what is not, None as the model says.
    frames: of the clip, 4 n + 1, None as the model says. free: the model chooses the cameras, and the targets only say
    how many views are wanted.
    """

    prompt: str = ""
    negative_prompt: str | None = None
    frames: int | None = None
    free: bool = False


@dataclass
class Encoded:
    """The sources, encoded once and kept. geometry: what VGGT sees in them; None where no scale is needed."""

    given: Given
    geometry: ClipGeometry | None


class Gen3R(Generator):
    """A Gen3R on one device. `method` is the method on tensors; texts: prompt to the text encoder's states (T, C)."""

    net: Gen3RNetworks

    def __init__(self, net: Gen3RNetworks, loading: Loading, texts: Callable[[str], Tensor]):
        super().__init__()
        if loading.offload and (loading.compile or loading.quantize):
            raise ModelError("offload moves the weights: it does not go together with compile or quantize")
        if loading.quantize:
            quantize([net.transformer], loading.quantize)
        if loading.compile:
            for block in net.transformer.blocks:
                block.compile()
        # compat: the released decoder knows one grid, that of the released size, where both ways agree.
        net.adapter.decoder.out_block.fixed_grid = False
        self.net, self.loading, self.texts, self.method = net, loading, texts, JointDiffusion(net, loading)
        self.dtype = self.method.dtype

    @classmethod
    def load(cls, folder: Path, loading: Loading) -> Gen3R:
        config: Gen3RConfig = open_folder(folder).config
        check_memory(config, loading)
        texts = TextStates(folder)
        for prompt in (ClipOptions().prompt, config.negative_prompt):
            texts(prompt)
        home = torch.device("cpu") if loading.offload else loading.device
        net = load_networks(folder, home, weights_dtype(loading), without=("text",))
        assert isinstance(net, Gen3RNetworks)
        return cls(net, loading, texts)

    @classmethod
    def check_download(cls, name: str, loading: Loading) -> None:
        if name.partition("@")[0] == Gen3RConfig.name and not Path(name).exists():
            check_memory(Gen3RConfig(), loading)

    @property
    def name(self) -> str:
        return self.net.config.name

    @property
    def limits(self) -> Limits:
        return Limits(self.method.patch, max_sources=2, max_views=self.net.config.frames, all_frames=True)

    @property
    def presets(self) -> dict[str, Preset]:
        config = self.net.config
        steps = {"exact": config.steps, "balanced": min(20, config.steps), "fast": min(8, config.steps)}
        return {name: Preset(name, {PHASE: Sampling(n, config.guidance_scale)}) for name, n in steps.items()}

    def working_size(self, camera: Camera) -> tuple[int, int]:
        return self.net.config.size, self.net.config.size

    def framed(self, camera: Camera, size: tuple[int, int]) -> Camera:
        return covered_camera(camera, size)

    @property
    def random_weights(self) -> bool:
        return self.net.config.random_weights

    def phases(self, request: Request) -> dict[str, list[float]]:
        tokens = float(self.frames(request) * request.size[0] * request.size[1])
        steps = request.preset.sampling[PHASE].evaluations()
        return {
            "encode": [0.0 if self.keeps(request) else tokens],
            PHASE: [n * tokens for n in steps],
            "decode": [tokens],
        }

    def flops(self, request: Request) -> float:
        evaluations = Counter(request.preset.sampling[PHASE].evaluations())
        config, frames = self.net.config.transformer, self.frames(request)
        return sum(steps * evaluation_flops(config, frames, request.size, n) for n, steps in evaluations.items())

    def check_options(self, options: Mapping[str, Any]) -> None:
        found = self.options(options)
        if found.frames is not None:
            check_frames(found.frames, 1, 0)
        self.prompts(found)

    def options(self, options: Mapping[str, Any]) -> ClipOptions:
        """The options of a request. Raises InvalidRequest that names every one that cannot be."""
        try:
            return ClipOptions(**options)
        except ValidationError as error:
            raise InvalidRequest(f"options of '{self.name}': {explain(error)}") from None

    def prompts(self, options: ClipOptions) -> tuple[Tensor, Tensor]:
        """The text encoder's states (T, C) of what is wanted, and of what is not. Raises as `TextStates` does."""
        negative = options.negative_prompt
        return self.texts(options.prompt), self.texts(self.net.config.negative_prompt if negative is None else negative)

    def frames(self, request: Request) -> int:
        """Frames of the clip of a request."""
        return self.options(request.options).frames or self.net.config.frames

    def together(self, sources: int, options: Mapping[str, Any]) -> int:
        """The frames of a clip; of those that are all given, any may be asked for."""
        return 0 if sources > self.limits.max_sources else self.options(options).frames or self.net.config.frames

    def settings(self, request: Request) -> tuple[tuple[int, int], tuple[int, bool]]:
        """The size, and (frames of the clip, True for cameras of the model's choice)."""
        return request.size, (self.frames(request), self.options(request.options).free)

    @torch.inference_mode()
    def encode(self, sources: Sequence[SourceView], size: tuple[int, int], detail: tuple[int, bool]) -> Encoded:
        """Encode the sources and, where rays of known cameras have to be scaled, look at them with VGGT."""
        frames, free = detail
        images = covered_images(sources, size, self.device)
        geometry = None if free else self.method.geometry(images[:, some(len(sources))])
        return Encoded(self.method.encode(images, frames), geometry)

    def generate(self, request: Request, report: Report) -> Rendering:
        options, size, frames = self.options(request.options), request.size, self.frames(request)
        self._check(request, frames)
        given, min_baseline = self.given(request), self.loading.min_baseline
        sources = [covered_source(source, size) for source in given]
        if request.strict_scale and not has_metres(request.sources, min_baseline):
            raise ScaleUnknown(
                f"{len(request.sources)} sources without depth images, less than {min_baseline:g} m apart: "
                "the clip has no metric scale; strict_scale=False takes it without"
            )
        everything = options.free and len(sources) == frames
        targets = [] if everything else [covered_camera(target, size) for target in request.targets]
        path = clip_path([source.camera for source in sources], targets, frames)
        key = request.key if len(given) == len(request.sources) else fingerprint(given)
        encoded: Encoded = self.encoded(replace(request, sources=given, key=key))
        report("encode")
        cameras = None
        if encoded.geometry is not None:
            unit = model_units([sources[k] for k in some(len(sources))], encoded.geometry, min_baseline)
            c2w = torch.tensor(path.c2w)
            c2w[:, :3, 3] = (c2w[:, :3, 3] - c2w[0, :3, 3]) / unit
            cameras = torch.tensor(path.K), c2w
        noise = self.method.noise(size, frames, request.seed)
        latents = self.method.sample(
            encoded.given, self.prompts(options), cameras, request.preset.sampling[PHASE], noise,
            lambda step: report(PHASE),
        )  # fmt: skip
        clip = self.method.decode(latents)
        self.check_finite(clip.images, clip.geometry.depth)
        return self._rendering(replace(request, sources=sources), len(request.sources), clip, path, options.free)

    def given(self, request: Request) -> list[SourceView]:
        """The sources, and behind a single one the last of the earlier views, whose world the clip is to end in."""
        sources = list(request.sources)
        if len(sources) == 1 and request.earlier:
            view = request.earlier[-1]
            sources.append(SourceView(view.image, view.camera, depth=view.depth))
        return sources

    def _check(self, request: Request, frames: int) -> None:
        """Raise InvalidRequest for what a clip cannot be made of; warn of what the weights were not trained for."""
        config, sources = self.net.config, request.sources
        check_frames(frames, len(sources), len(request.targets))
        if request.observed_pixels:
            raise InvalidRequest(f"'{self.name}' generates every pixel: observed_pixels cannot be had")
        shapes = [source.camera.width / source.camera.height for source in sources]
        if max(shapes) > 1.01 * min(shapes):
            found = ", ".join(f"{source.camera.width}x{source.camera.height}" for source in sources)
            raise InvalidRequest(f"sources of {found} pixels: images of one aspect are expected")
        self.method.check_size(request.size)
        if frames != config.frames or request.size != (config.size, config.size):
            warnings.warn(
                f"'{self.name}' was trained for {config.frames} frames of {config.size}x{config.size}, "
                f"asked are {frames} of {request.size[1]}x{request.size[0]}",
                stacklevel=2,
            )

    def _rendering(self, request: Request, real: int, clip: Clip, path: ClipPath, free: bool) -> Rendering:
        """The views of a clip in metres, as far as these are known. real: sources that no model made, the first ones of
        the request's: nothing else was seen."""
        given = [source.camera for source in request.sources]
        seen_from = RelativeFrame(given if free else [*given, *request.targets])
        scale = clip_scale(request, clip.geometry, path, seen_from, self.loading.min_baseline, free)
        if len(given) > real:  # the earlier view's depth only carries on the scale that was found for it
            scale = replace(scale, method=request.earlier[-1].scale.method)
        depth = clip.geometry.depth[0].float() * scale.value
        spread = 0.3 / clip.geometry.depth_confidence[0].float()
        spread = torch.where(clip.reliable, spread, spread.clamp_min(UNRELIABLE))
        frames, cameras = path.targets, path.cameras
        implied = generated_cameras(clip.geometry, scale, request.sources[0].camera)
        if free:
            cameras, frames = implied, chosen_frames(len(path.cameras), len(request.targets), len(given))
        observed = {frame: k for k, frame in enumerate(path.sources[:real])}
        usable = usable_pixels(request.sources[:real], request.size, depth.device)
        if usable is None:
            usable = torch.ones_like(depth[None, :real], dtype=torch.bool)
        known = torch.where(usable, depth[[*observed]][None] / seen_from.unit, torch.nan)
        values = spread[[*observed]][None, :, None]
        K, c2w = camera_tensors(cameras, seen_from, request.size, depth.device)
        pixels = []
        for frame in frames:
            if frame in observed:
                seen = usable[0, observed[frame]]
            else:
                posed = K[:, [*observed]], c2w[:, [*observed]], K[:, frame], c2w[:, frame]
                seen = forward_warp(values, known, *posed, request.size).seen[0]
            pixels.append(Pixels(clip.images[frame], depth[frame], spread[frame], seen))
        estimated = [implied[k].c2w for k in frames]
        if free:
            return Rendering(pixels, scale, clip.images[-1], [cameras[k] for k in frames], estimated)
        found = [uncovered(view, target) for view, target in zip(pixels, request.targets, strict=True)]
        return Rendering(found, scale, clip.images[-1], estimated=estimated)


def chosen_frames(frames: int, wanted: int, given: int) -> list[int]:
    """The frames of a clip that are views where no camera is asked for: evenly, and, unless all frames were given,
    behind the first one, which was."""
    first = 0 if given == frames else 1
    return np.linspace(0, frames - 1, wanted + first).round().astype(int)[first:].tolist()
