"""GLDPipeline: posed images and target cameras in, views out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gld_ros.errors import ModelError, OutOfMemory
from gld_ros.geometry.cameras import Camera
from gld_ros.models.checkpoints import load_model, model_folder
from gld_ros.models.gld import GLDNetworks
from gld_ros.models.matching import SourceDepth
from gld_ros.pipeline.native import NativeSources, compose, native_sources
from gld_ros.pipeline.request import RelativeFrame, check_request, working_size
from gld_ros.pipeline.scale import find_scale
from gld_ros.pipeline.synthesis import condition, decode, resize, sample, source_geometry
from gld_ros.pipeline.views import Progress, Scale, SourceView, View

Callback = Callable[[Progress], None]


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


class GLDPipeline:
    """Loads a model once, then synthesizes views on request. Not re-entrant: one thread owns it."""

    def __init__(self, net: GLDNetworks, device: torch.device | str = "cpu", min_baseline: float = 0.01):
        """min_baseline: mean distance between source cameras, in the poses' unit (metres), below which no scale is
        claimed: it has to stand well above the noise of the poses."""
        self.net = net
        self.device = torch.device(device)
        self.min_baseline = min_baseline
        self.dtype = torch.bfloat16 if _has_bfloat16(self.device) else torch.float32

    @classmethod
    def from_pretrained(cls, name: str, device: str | None = None, min_baseline: float = 0.01) -> GLDPipeline:
        """`name`: "mini" or a folder with config.json and model.safetensors. device: the best there is by default."""
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(load_model(model_folder(name), chosen), chosen, min_baseline)

    @property
    def name(self) -> str:
        return self.net.config.name

    @property
    def max_sources(self) -> int:
        return self.net.config.max_sources

    @torch.inference_mode()
    def __call__(
        self,
        sources: Sequence[SourceView],
        targets: Sequence[Camera],
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int = 0,
        callback: Callback | None = None,
    ) -> list[View]:
        """Synthesize one View a target, each of its camera's size.

        steps: sampling steps of each diffusion stage; guidance_scale: 1 = conditional branch alone; both default to
        the model's. The same seed gives the same views. Raises InvalidRequest, ScaleUnknown, OutOfMemory, ModelError,
        and whatever `callback` raises to end the request.
        """
        check_request(sources, targets, self.max_sources)
        try:
            return self._synthesize(sources, targets, steps, guidance_scale, seed, callback or (lambda _: None))
        except torch.OutOfMemoryError as error:
            reason = str(error).splitlines()[0]
        # Outside `except`: the traceback would keep the tensors alive.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise OutOfMemory(f"{len(sources)} sources, {len(targets)} targets: {reason}")

    def _synthesize(
        self,
        sources: Sequence[SourceView],
        targets: Sequence[Camera],
        steps: int | None,
        guidance_scale: float | None,
        seed: int,
        callback: Callback,
    ) -> list[View]:
        steps = steps or self.net.config.flow.steps
        guidance_scale = self.net.config.flow.guidance_scale if guidance_scale is None else guidance_scale
        total = len(targets) * (2 * steps + 1) + 1
        done = 0

        def report(stage: str, step: int, preview: Tensor | None = None) -> None:
            nonlocal done
            done += 1
            callback(Progress(stage, step, steps, done / total, None if preview is None else to_uint8(preview)))

        prepared = self.prepare(sources)
        report("encode", 0)
        views = []
        for number, target in enumerate(targets):
            target_K, target_c2w = self.cameras([target], prepared.frame, prepared.size)
            generator = torch.Generator().manual_seed(seed + number)
            with self._autocast():
                posed = prepared.images, prepared.K, prepared.c2w, prepared.depth
                given = condition(self.net, *posed, target_K[:, 0], target_c2w[:, 0])
                preview = given.warped.image[0]
                noise = torch.randn(2, *given.level1.shape, generator=generator).to(self.device)
                path = steps, guidance_scale
                on_step = partial(report, "level1", preview=preview)
                level1 = sample(self.net, self.net.level1, given.level1, given, noise[0], *path, None, on_step)
                on_step = partial(report, "level0", preview=preview)
                level0 = sample(self.net, self.net.cascade, given.level0, given, noise[1], *path, level1, on_step)
                composite, _ = decode(self.net, level0, level1, given)
            pixels = compose(prepared.native, composite, given, target, prepared.frame)
            views.append(self._view(pixels, target, sources, prepared.scale, seed))
            report("decode", 1, composite.image[0])
        return views

    @torch.inference_mode()
    def prepare(self, sources: Sequence[SourceView]) -> PreparedSources:
        """Encode the sources, find their depth and its scale. Raises ScaleUnknown."""
        frame = RelativeFrame([s.camera for s in sources])
        size = working_size(sources[0].camera, self.net.config.patches, self.net.config.encoder.patch)
        pictures = [self._image(s.image) for s in sources]
        images = torch.cat([resize(p[None, None], size) for p in pictures], dim=1)
        K, c2w = self.cameras([s.camera for s in sources], frame, size)
        with self._autocast():
            geometry, stereo = source_geometry(self.net, images, K, c2w)
        depth, scale = find_scale(sources, geometry, stereo, K, c2w, frame, self.min_baseline)
        native = native_sources(pictures, sources, images, depth, frame)
        return PreparedSources(frame, size, images, K, c2w, depth, scale, native)

    def cameras(self, cameras: Sequence[Camera], frame: RelativeFrame, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """K (1, V, 3, 3) at the working size (H, W) and c2w (1, V, 4, 4) in the request's own frame, float32."""
        K = np.stack([c.resized(size[1], size[0]).K for c in cameras])
        c2w = np.stack([frame.relative(c.c2w) for c in cameras])
        return self._tensor(K)[None], self._tensor(c2w)[None]

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array, dtype=torch.float32, device=self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _view(self, pixels: tuple, target: Camera, sources: Sequence[SourceView], scale: Scale, seed: int) -> View:
        image, depth, confidence, seen = pixels
        if not (torch.isfinite(image).all() and torch.isfinite(depth[depth == depth]).all()):
            raise ModelError(f"model '{self.name}' gave numbers that are not finite")
        return View(
            camera=target,
            image=to_uint8(image),
            depth=depth.float().cpu().numpy(),
            confidence=confidence.float().cpu().numpy(),
            generated=(~seen).cpu().numpy(),
            scale=scale,
            model=self.name,
            seed=seed,
            source_stamps=tuple(s.stamp for s in sources),
        )

    def _image(self, image: np.ndarray) -> Tensor:
        """(3, H, W) float 0..1 on the device."""
        return torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1).float() / 255


def to_uint8(image: Tensor) -> np.ndarray:
    """(3, H, W) 0..1 -> (H, W, 3) uint8."""
    return (image.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is fast here: GPUs that support it, CPUs with AMX or AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
