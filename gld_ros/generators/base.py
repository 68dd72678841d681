# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The seam for families of generative models: what one has to be, and how a model folder finds its own.

A new family is one file with a subclass of `Generator`, its config, and one line in `FAMILIES`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gld_ros.calibration import Calibration
from gld_ros.confidence import confidence, novelty
from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.generators.native import Pixels, to_uint8
from gld_ros.generators.request import Limits, Loading, Preset, Recent, Rendering, Report, Request
from gld_ros.geometry.cameras import Camera
from gld_ros.views import SENSOR_SPREAD, ObservedDepth, Scale, SourceView, View
from gld_ros.weights.gen3r_layout import is_gen3r

#: Families by the name in a folder's config.json ("family"); a folder without one is the first's, one of diffusers
#: Gen3R's.
FAMILIES: dict[str, str | type[Generator]] = {
    "gld": "gld_ros.generators.gld_family:GLD",
    "gen3r": "gld_ros.generators.gen3r_family:Gen3R",
}


class Generator(ABC):
    """A generative model of one family on its device.

    `net` holds all networks; a subclass sets it and, where they are not the defaults, `loading` and `dtype`.
    """

    net: nn.Module
    loading: Loading = Loading()
    dtype: torch.dtype = torch.float32
    calibration: Calibration | None = None
    #: True for an encoder with GLD's four levels (`gld eval`).
    has_levels: bool = False

    def __init__(self) -> None:
        self.recent = Recent()

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, loading: Loading) -> Generator:
        """The model of a folder. Raises ModelError that names what is missing or broken, OutOfMemory."""

    @classmethod  # noqa: B027 (a family without published weights has nothing to check)
    def check_download(cls, name: str, loading: Loading) -> None:
        """Raise OutOfMemory where a published model of this name would not fit, before anything is downloaded."""

    @property
    def device(self) -> torch.device:
        return self.loading.device

    @property
    @abstractmethod
    def name(self) -> str:
        """As in `View.model`."""

    @property
    @abstractmethod
    def limits(self) -> Limits:
        """The limits of a request."""

    @property
    def has_rays(self) -> bool:
        """True where the encoder's features give poses (`gld eval`)."""
        return False

    @property
    @abstractmethod
    def presets(self) -> dict[str, Preset]:
        """One of each name in PRESETS, the best first."""

    @abstractmethod
    def working_size(self, camera: Camera) -> tuple[int, int]:
        """(H, W), multiples of the patch, that images of such a camera are worked on at."""

    def framed(self, camera: Camera, size: tuple[int, int]) -> Camera:
        """The camera of the part of an image that a view made at the size (H, W) shows; here, of all of it."""
        return camera

    @property
    def random_weights(self) -> bool:
        """True for a model that was never trained, as in tests."""
        return False

    @abstractmethod
    def phases(self, request: Request) -> dict[str, list[float]]:
        """The work of each step of all phases, in their order, in any unit that seconds grow with (tokens).

        Work of 0 costs no time.
        """

    @abstractmethod
    def encode(self, sources: Sequence[SourceView], size: tuple[int, int], detail: Any) -> Any:
        """The part that depends on the sources alone; it is kept for further requests. detail: see `settings`."""

    def settings(self, request: Request) -> tuple[tuple[int, int], Any]:
        """The settings, beside its sources, that their encoding depends on: the working size, and a detail of the
        family's. Here that is the preset's pixels."""
        return request.size, request.preset.pixels

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise InvalidRequest for options of a request that the family does not have; here, for any."""
        if options:
            raise InvalidRequest(f"model '{self.name}' has no option {', '.join(sorted(options))}")

    def together(self, sources: int, options: Mapping[str, Any]) -> int:
        """Most sources, earlier views and targets that are generated together, 0 without limit."""
        return self.limits.max_views

    @abstractmethod
    def generate(self, request: Request, report: Report) -> Rendering:
        """All targets of a request; `report` is called after each step of each phase but the last, "decode".

        Raises ScaleUnknown, NoContext, ModelError, and what `report` raises.
        """

    def observed_depth(
        self, sources: Sequence[SourceView], settings: tuple[tuple[int, int], int] | None = None
    ) -> list[ObservedDepth]:
        """Depth of each source as its posed neighbours and its depth sensor show it. Families that triangulate nothing
        have what the sensor measured alone; empty where a source has no sensor.

        settings: size and pixels, see `encode`; None: from what is kept of the last request with these sources alone,
        empty without one.
        """
        found = []
        for source in sources:
            if (depth := source.measured) is None:
                return []
            known = np.isfinite(depth)
            certain = confidence(np.full_like(depth, SENSOR_SPREAD), np.zeros(depth.shape, bool), None)
            found.append(ObservedDepth(depth, source.image, certain, source.camera, source.stamp, known))
        return found

    def flops(self, request: Request) -> float | None:
        """FLOPs of the sampled phases of a request, where they are known."""
        return None

    def preset(self, name: str) -> Preset:
        """The preset of that name. Raises InvalidRequest."""
        if name not in self.presets:
            raise InvalidRequest(f"preset is '{name}', expected one of {', '.join(self.presets)}")
        return self.presets[name]

    def encoded(self, request: Request) -> Any:
        """`encode` of a request's sources, or what was kept of it."""
        settings = self.settings(request)
        return self.recent.get((request.key, settings), lambda: self.encode(request.sources, *settings))

    def keeps(self, request: Request) -> bool:
        """True if the sources of such a request are encoded already."""
        return (request.key, self.settings(request)) in self.recent

    def forget(self) -> None:
        """Drop what is kept of the sources of recent requests."""
        self.recent.clear()

    def views(self, rendering: Rendering, request: Request, report: Report) -> list[View]:
        """One View a target. Raises ModelError for numbers that are not finite."""
        cameras = rendering.cameras or request.targets
        views = [self._view(p, c, request, rendering.scale) for p, c in zip(rendering.pixels, cameras, strict=True)]
        report("decode", rendering.preview)
        none: Sequence[np.ndarray | None] = [None] * len(views)
        estimated = rendering.estimated or none
        return [replace(v, complete=not report.cut, estimated_c2w=c2w) for v, c2w in zip(views, estimated, strict=True)]

    def _view(self, pixels: Pixels, target: Camera, request: Request, scale: Scale) -> View:
        calibration = self.calibration
        if calibration and (target.height, target.width) != request.size:
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
            model=self.name,
            seed=request.seed,
            preset=request.preset.name,
            source_stamps=tuple(source.stamp for source in request.sources),
            spread=stated,
            calibration=calibration,
            novelty=novelty(request.sources, target),
        )

    def check_finite(self, *outputs: Tensor) -> None:
        """Raise ModelError for outputs of the networks that are not finite."""
        if not all(torch.isfinite(output).all() for output in outputs):
            raise ModelError(f"model '{self.name}' gave numbers that are not finite")


def families() -> dict[str, type[Generator]]:
    """All families by name, imported."""
    found = {}
    for name, family in FAMILIES.items():
        if isinstance(family, str):
            module, _, attribute = family.partition(":")
            family = getattr(import_module(module), attribute)
        found[name] = family
    return found


def family_of(folder: Path) -> type[Generator]:
    """The family of a model folder. Raises ModelError for one that is not known."""
    name = next(iter(FAMILIES))
    if is_gen3r(folder):
        return families()["gen3r"]
    try:
        description = json.loads((folder / "config.json").read_text())
        name = description.get("family", name)
    except (OSError, ValueError, AttributeError):  # a folder that is broken, or has none, is explained by its family
        pass
    if name not in FAMILIES:
        raise ModelError(f"{folder}: model family '{name}', expected one of {', '.join(FAMILIES)}")
    return families()[name]
