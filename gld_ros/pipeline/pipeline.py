# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""GLDPipeline: posed images and target cameras in, views out."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from gld_ros.confidence import check_novelty, combine
from gld_ros.diffusion.sampler import Sampler
from gld_ros.errors import ModelError, OutOfMemory, RequestTimeout
from gld_ros.generators.devices import compute_dtype, has_bfloat16, out_of_memory, usable_device
from gld_ros.generators.generation import Generated
from gld_ros.generators.method import Callback, Options, part_of
from gld_ros.generators.offload import Residency, check_offload
from gld_ros.generators.presets import preset as find_preset
from gld_ros.generators.synthesis import Synthesis
from gld_ros.geometry.cameras import Camera
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.quantization import check_quantize
from gld_ros.networks.quantization import quantize as quantize_weights
from gld_ros.networks.released import MODELS
from gld_ros.pipeline.budget import SIZES, capped, plan, smaller
from gld_ros.pipeline.calibration import Probe, calibrated, wall_views
from gld_ros.pipeline.costs import CostModel
from gld_ros.pipeline.request import (
    check_options,
    check_request,
    check_tensors,
    check_views,
    warn_of_poses,
    working_size,
)
from gld_ros.views import SourceView, View
from gld_ros.weights.hub import resolve
from gld_ros.weights.layout import DTYPES, open_folder
from gld_ros.weights.loading import load_calibration, load_model
from gld_ros.weights.memory import check_fits, estimate

Result = TypeVar("Result")


class GLDPipeline:
    """Loads a model once, then synthesizes views on request. Not re-entrant: one thread owns it."""

    def __init__(
        self,
        net: GLDNetworks,
        device: torch.device | str = "cpu",
        min_baseline: float = 0.01,
        offload: str | None = None,
        dtype: torch.dtype | None = None,
        compile: bool = False,
        quantize: str | None = None,
    ):
        """min_baseline: mean distance between cameras, in the poses' unit (metres), below which no scale is claimed: it
        has to stand well above the noise of the poses. offload: "sequential" keeps only the component at work on the
        device. dtype: to compute in; see `compute_dtype` for the default. compile: the
        diffusion networks, for each shape at its first use, see `Sampler` and `warm_up`. quantize: "int8" or "fp8"
        weights, needs torchao. Neither goes together with offload."""
        self.net = net
        self.device = torch.device(device)
        if offload and (compile or quantize):
            raise ModelError("offload moves the weights: it does not go together with compile or quantize")
        if quantize:
            quantize_weights(net, quantize)
        self.quantize = quantize
        residency = Residency(net, self.device, offload)
        self._costs: CostModel | None = None
        sampler = Sampler(self.device, compile)
        self.synthesis = Synthesis(residency, dtype or compute_dtype(net, self.device), min_baseline, sampler)

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
        compute in; bfloat16 by default where it is fast. offload, min_baseline, compile, quantize: see `__init__`.
        Raises ModelError that names what is missing, broken or does not fit, and OutOfMemory with the estimate where
        the device cannot hold the model (the released ones: before anything is downloaded).
        """
        chosen = usable_device(device)
        check_offload(offload)
        check_quantize(quantize)
        if dtype is not None and dtype not in (*DTYPES, *DTYPES.values()):
            raise ModelError(f"dtype is '{dtype}', expected one of {sorted(DTYPES)}")
        asked = DTYPES[dtype] if isinstance(dtype, str) else dtype
        large = asked or (torch.bfloat16 if has_bfloat16(chosen) else torch.float32)

        def check_memory(config: ModelConfig) -> None:
            check_fits(estimate(config, large, offload=bool(offload), device=chosen.type), chosen)

        if (bare := str(name).partition("@")[0]) in MODELS and not Path(bare).exists():
            check_memory(MODELS[bare])
        folder = resolve(str(name), revision, local_files_only)
        config = open_folder(folder).config
        if not config.warps:  # mini fits everywhere
            check_memory(config)
        # mini's weights stay float32, it computes in what is fast.
        weights = (asked or torch.float32) if config.warps else large
        calibration = load_calibration(folder)
        net = load_model(folder, torch.device("cpu") if offload else chosen, weights)
        pipe = cls(net, chosen, min_baseline, offload, asked, compile, quantize)
        pipe.synthesis.calibration = calibration
        return pipe

    @property
    def name(self) -> str:
        return self.net.config.name

    @property
    def calibrated(self) -> bool:
        """Whether it is known what the model's stated spread is worth; only then there are depth intervals."""
        return self.synthesis.calibration is not None

    @property
    def max_sources(self) -> int:
        return self.net.config.max_sources

    @property
    def max_views(self) -> int:
        """Most sources and targets of one call; 0 means no limit."""
        return self.net.config.max_views

    @torch.inference_mode()
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
        observed_pixels: bool | None = None,
        callback: Callback | None = None,
    ) -> list[View]:
        """Synthesize one View a target, each of its camera's size.

        preset: "exact", "balanced" or "fast". steps: sampling steps of each diffusion stage; guidance_scale: 1 =
        conditional branch alone; both default to the preset's. size: (H, W) the model works at, multiples of its
        patch, by default the model's. The same seed gives the same views.
        strict_scale: of the released models: refuse views whose geometry contradicts the poses; otherwise warn.
        observed_pixels: take what a source saw from that source, at the camera's own resolution, and leave only the
        rest to the model; by default mini does and the released models do not. samples: drawn with `seed`, `seed` + 1,
        ... and joined to one view (`uncertainty.combine`), at most MAX_SAMPLES. max_novelty: refuse targets that go
        farther beyond the sources (`uncertainty.novelty`, 0..1).
        Raises InvalidRequest, NoContext, ScaleUnknown, OutOfMemory, ModelError, and whatever `callback` raises to end
        the request.

        time_budget: seconds until the views have to be here. preset, steps and size are then the most that is wanted,
        and what fits is chosen by the measured speed of this machine (`calibrate`; a first request with a budget
        measures where nothing is stored, which counts). Where it gets late nevertheless, steps are left out
        (`View.complete`), and targets from the end: there are fewer views then. RequestTimeout at once where not even
        one would fit, and instead of a view that is later than the budget by 10 % and 50 ms. Samples share the budget;
        those after the first for which there is no time are left out (`View.samples`).
        """
        config = self.net.config
        began = self.clock()
        check_request(sources, targets, config, size)
        check_options(steps, guidance_scale, time_budget, samples)
        warn_of_poses(sources, targets)
        check_novelty(sources, targets, max_novelty)
        size = size or working_size(sources[0].camera, config)
        chosen = find_preset(preset, config)
        options = Options(size, chosen, steps or None, guidance_scale, seed, strict_scale, observed_pixels)
        what = f"{len(sources)} sources, {len(targets)} targets"
        cameras = [source.camera for source in sources]

        drawn: list[list[View]] = []

        def draw(k: int, shares: int) -> list[View]:
            """The k-th sample of each view, in one of so many equal shares of the time that is left."""
            sample, tell = replace(options, seed=seed + k), part_of(callback, k, samples)
            wanted = targets[: len(drawn[-1])] if drawn else targets
            if time_budget is not None:
                now = self.clock() if k else began
                rest = (began + time_budget - now) / shares
                kept = self._encoded(sources)
                sample, wanted = plan(self.costs(), config, cameras, wanted, sample, rest, now, self.clock, kept)
            return self._in_memory(what, partial(self.synthesis.synthesize, sources, wanted, sample, tell))

        while len(drawn) < samples:
            try:
                drawn.append(draw(len(drawn), samples - len(drawn)))
            except RequestTimeout:
                if not drawn and samples > 1:  # too many samples, but there may be time for one
                    drawn.append(draw(0, 1))
                elif not drawn:
                    raise
                break
        return [combine(views) for views in zip(*drawn, strict=False)]  # with a budget, later samples may have fewer

    @torch.inference_mode()
    def warm_up(
        self, sources: int = 2, targets: int = 1, size: tuple[int, int] = (480, 640), preset: str = "exact"
    ) -> None:
        """Made-up requests of that many views, so that the next one finds everything loaded, compiled and allocated.

        size: (H, W) of the cameras. A compiled pipeline compiles here what such requests by this preset need.
        """
        config = self.net.config
        check_views(sources, targets, config)
        views, cameras = wall_views(Probe(sources, targets, size))
        options = Options(working_size(cameras[0], config), find_preset(preset, config), strict_scale=False)
        # Few steps, but some with guidance and some without. The second time CUDA graphs are recorded.
        options = capped(options, config.flow, 4)
        for _ in range(2 if self.device.type == "cuda" or self.synthesis.sampler.compiled else 1):
            self.forget()
            with warnings.catch_warnings():  # of a scene that no model was trained on
                warnings.simplefilter("ignore")
                self._in_memory("warming up", lambda: self.synthesis.synthesize(views, cameras, options, None))
        self.forget()

    def _encoded(self, sources: Sequence[SourceView]) -> Callable[[Options], bool]:
        """Whether a request with such options would find the sources encoded."""
        return lambda options: self.synthesis.recent.holds(sources, self.synthesis.encoding(options))

    def costs(self) -> CostModel:
        """How fast this machine is, as stored; measured now, and stored, where it was not."""
        if self._costs is None:
            self._costs = calibrated(self)
        return self._costs

    def clock(self) -> float:
        """Seconds, when the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()

    @torch.inference_mode()
    def generate(
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
        """The released method on tensors: latents, features, images and geometry of all views, in model units.

        images: (B, S, 3, H, W) 0..1 of the sources, H and W multiples of the patch; K: (B, V, 3, 3) pixels of that size
        and c2w: (B, V, 4, 4) of sources, then targets; noise: of levels 1 and 0, drawn from `seed` where not given.
        Raises InvalidRequest for shapes, sizes, numbers of views, cameras that cannot be right; OutOfMemory.
        """
        check_tensors(images, K, c2w, self.net.config)
        check_options(steps, guidance_scale)
        config, synthesis = self.net.config, self.synthesis
        sampling = find_preset(preset, config).sampling(config.flow, steps, guidance_scale)
        generator = torch.Generator().manual_seed(seed)
        images, K, c2w = images.to(self.device), K.to(self.device), c2w.to(self.device)
        what = f"{images.shape[1]} sources, {K.shape[1] - images.shape[1]} targets"
        return self._in_memory(what, lambda: synthesis.generate(images, K, c2w, sampling, noise, generator))

    def smaller_sizes(self, camera: Camera) -> list[tuple[int, int]]:
        """Values of `size` that take less memory than the default for such a camera, the largest first."""
        config = self.net.config
        return [smaller(working_size(camera, config), share, config.encoder.patch) for share in SIZES]

    def forget(self) -> None:
        """Drop what is kept of the sources of recent requests; with the same ones again only the targets cost time."""
        self.synthesis.forget()

    def _in_memory(self, what: str, work: Callable[[], Result]) -> Result:
        """What `work` returns; OutOfMemory, with the memory given back, where the device has too little."""
        try:
            return work()
        except Exception as error:
            if not out_of_memory(error):
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
        # Outside `except`: the traceback would keep the tensors alive.
        self.forget()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise OutOfMemory(f"{what}: {reason}")
