# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests to measure with: a wall of coloured blocks seen from side to side, and settings by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.memory_use import write_random_model
from gld_ros.evaluation.scenes import choose
from gld_ros.generators.presets import EXACT, NAMES
from gld_ros.geometry.cameras import Camera
from gld_ros.networks.released import MODELS
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.pipeline.wall import BASELINE, Wall
from gld_ros.views import SourceView


@dataclass(frozen=True)
class Shape:
    """How much a request asks for. size: (H, W) of all cameras, pixels."""

    sources: int
    targets: int
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.views} {self.size[1]}x{self.size[0]}"

    @property
    def views(self) -> str:
        """As on the command line: sources+targets."""
        return f"{self.sources}+{self.targets}"


@dataclass(frozen=True)
class Variant:
    """Settings to compare, by name: keyword arguments of `GLDPipeline.__call__`."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


def preset_variant(name: str) -> Variant:
    """The settings of a preset. Raises InvalidRequest for one that there is not."""
    if name not in NAMES:
        raise InvalidRequest(f"preset is '{name}', expected one of {', '.join(NAMES)}")
    return Variant(name, {"preset": name})


def steps_variant(steps: int) -> Variant:
    """So many steps of each level. Raises InvalidRequest for none."""
    if steps < 1:
        raise InvalidRequest(f"{steps} steps, expected at least 1")
    return Variant(f"{steps} steps", {"steps": steps})


def requested(presets: Sequence[str], steps: int | None, guidance_scale: float | None) -> list[Variant]:
    """One variant a preset, or the model's own settings; `steps` and `guidance_scale` replace theirs."""
    changed = {"steps": steps, "guidance_scale": guidance_scale}
    asked = {name: value for name, value in changed.items() if value is not None}
    if steps is not None:
        steps_variant(steps)
    base = [preset_variant(name) for name in presets] or [Variant("default")]
    named = "".join(f" {name}={value:g}" for name, value in asked.items())
    return [Variant(variant.name + named, variant.settings | asked) for variant in base]


def compared(
    presets: Sequence[str], steps: Sequence[int], reference_steps: int | None
) -> tuple[Variant, list[Variant]]:
    """The reference (`exact`, or the model's own settings in so many steps) and what is compared with it: unless asked
    otherwise, the other presets."""
    reference = preset_variant(EXACT.name) if reference_steps is None else steps_variant(reference_steps)
    if not presets and not steps:
        presets = [name for name in NAMES if name != EXACT.name]
    return reference, [*map(preset_variant, presets), *map(steps_variant, steps)]


def wall_request(shape: Shape) -> tuple[list[SourceView], list[Camera]]:
    """Sources and target cameras in a row, sources spread evenly from end to end. Raises InvalidRequest for no view."""
    if min(shape.sources, shape.targets) < 1:
        raise InvalidRequest(f"views {shape.views}: at least one source and one target are expected")
    wall = Wall(shape.size)
    choice = choose(shape.sources + shape.targets, shape.sources)
    return [wall.view(BASELINE * i) for i in choice.sources], [wall.camera(BASELINE * i) for i in choice.targets]


def request_settings(pipe: GLDPipeline, shape: Shape) -> dict[str, Any]:
    """Joint models work at the cameras' own size, others at their model's; random weights have no scale to insist on.

    Raises InvalidRequest for a size that is not made of whole patches.
    """
    settings: dict[str, Any] = {"strict_scale": False}
    if not pipe.net.config.warps:
        settings["size"] = shape.size
    return settings


@contextmanager
def model_folder(name: str, dtype: str | None = None) -> Iterator[str]:
    """What `GLDPipeline.from_pretrained` takes: gld-da3 and gld-vggt as folders of random weights, others as they are.

    dtype: of the random weights, "float32" or "bfloat16" (the default).
    """
    if name not in MODELS or Path(name).exists():
        yield name
        return
    with TemporaryDirectory(prefix="gld-bench-") as scratch:
        print(f"writing {name} with random weights to {scratch}", file=sys.stderr)
        write_random_model(MODELS[name], Path(scratch), dtype or "bfloat16")
        yield scratch
