# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Presets: how much of a model's own sampling a request does without."""

from __future__ import annotations

from dataclasses import dataclass

from gld_ros.diffusion.sampler import Sampling
from gld_ros.errors import InvalidRequest
from gld_ros.networks.configs import FlowConfig, ModelConfig


@dataclass(frozen=True)
class Preset:
    """How both stages are sampled; None: as the model is configured.

    steps, level0_steps: of level 1 and of level 0; a stage whose model takes no more by itself (few-step students)
    is sampled as configured, by Euler, which it was trained for. pixels: observed pixels are taken from the sources at
    the cameras' own resolution up to so many; larger views are enlarged. The rest: see `Sampling`.
    """

    name: str
    steps: int | None = None
    level0_steps: int | None = None
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    solver: str = "euler"
    pixels: int = 640 * 480

    def sampling(
        self, flow: FlowConfig, steps: int | None = None, guidance_scale: float | None = None
    ) -> tuple[Sampling, Sampling]:
        """Of level 1 and of level 0. steps, guidance_scale: asked for, instead of the preset's."""
        return (
            self._stage(*flow.sampling("level1"), self.steps, steps, guidance_scale),
            self._stage(*flow.sampling("level0"), self.level0_steps, steps, guidance_scale),
        )

    def _stage(
        self,
        own_steps: int,
        own_scale: float,
        preset_steps: int | None,
        steps: int | None,
        guidance_scale: float | None,
    ) -> Sampling:
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        scale = own_scale if scale is None else scale
        if preset_steps is None or preset_steps >= own_steps:
            return Sampling(steps or own_steps, scale)
        return Sampling(steps or preset_steps, scale, self.guidance_interval, self.solver)


#: As the model is configured: the released ones in 49 + 49 (DA3) or 99 + 99 (VGGT) Euler steps.
EXACT = Preset("exact")

#: Of the released models. Guidance is left out where the state is nearly noise, where it does harm,
#: and where it is nearly data, where it does nothing (arXiv 2404.07724). Level 0 is nearly given by level 1.
JOINT = {
    "exact": EXACT,
    "balanced": Preset("balanced", 14, 6, guidance_interval=(0.15, 0.8), solver="dpmpp2m"),
    "fast": Preset("fast", 6, 1, guidance_interval=(0.15, 0.8), solver="dpmpp2m"),
}

#: Of models that are conditioned on the warped sources.
WARPED = {
    "exact": EXACT,
    "balanced": Preset("balanced", 2, 1),
    "fast": Preset("fast", 1, 1, pixels=320 * 240),
}

NAMES = tuple(JOINT)


def presets(config: ModelConfig) -> dict[str, Preset]:
    """A model's presets, the best first."""
    return WARPED if config.warps else JOINT


def preset(name: str, config: ModelConfig) -> Preset:
    """A model's preset of that name. Raises InvalidRequest."""
    named = presets(config)
    if name not in named:
        raise InvalidRequest(f"preset is '{name}', expected one of {', '.join(named)}")
    return named[name]
