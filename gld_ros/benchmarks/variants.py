# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings by name, as the command line gives them."""

from __future__ import annotations

from collections.abc import Sequence

from gld_ros.benchmarks.requests import Variant
from gld_ros.errors import InvalidRequest
from gld_ros.generators.presets import EXACT, NAMES


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
