# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A request's checks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.generators.request import Limits
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import overlap
from gld_ros.views import SourceView, View

MAX_SAMPLES = 64  # of one request: each costs as much as the first


def warn_of_poses(sources: Sequence[SourceView], targets: Sequence[Camera]) -> None:
    """Warn of cameras that look away from all others, and say so if the inverse poses would make more sense.

    A target has to look at something that a source sees, a source at something that any other camera sees.
    """
    given = [source.camera for source in sources]
    pairs = [(f"source {k}", camera, [*given[:k], *given[k + 1 :], *targets]) for k, camera in enumerate(given)]
    pairs += [(f"target {k}", camera, given) for k, camera in enumerate(targets)]
    for name, camera, others in pairs:
        if overlap(others, camera) == 0:
            inverse, inverses = camera.moved(camera.w2c), [other.moved(other.w2c) for other in others]
            hint = "; with the inverse pose it would not: c2w is expected, is this w2c?"
            likely = overlap(others, inverse) > 0 or overlap(inverses, inverse) > 0
            seen = "all sources" if name.startswith("target") else "all other cameras"
            warnings.warn(
                f"{name} looks away from {seen}: nothing they see would be in it{hint * likely}", stacklevel=3
            )


def check_request(
    sources: Sequence[SourceView],
    targets: Sequence[Camera],
    name: str,
    limits: Limits,
    size: tuple[int, int] | None = None,
    earlier: Sequence[View] = (),
) -> None:
    """Raise InvalidRequest naming the view and what is wrong with it. name: of the model."""
    limits.check_views(name, len(sources), min(len(targets), 1), len(earlier))
    if size is not None:
        limits.check_size(size)
    for k, source in enumerate(sources):
        view = f"source {k}"
        source.camera.check(view)
        shape = (source.camera.height, source.camera.width, 3)
        if source.image.shape != shape or source.image.dtype != np.uint8:
            found = f"{source.image.dtype} {source.image.shape}"
            raise InvalidRequest(f"{view}: image is {found}, expected uint8 {shape} as its camera says")
        if source.depth is not None and source.depth.shape != shape[:2]:
            raise InvalidRequest(f"{view}: depth is {source.depth.shape}, expected {shape[:2]} as its camera says")
        if source.depth is not None and source.depth.dtype.kind != "f":
            raise InvalidRequest(f"{view}: depth is {source.depth.dtype}, expected floating-point metres")
        if source.mask is not None and (source.mask.shape != shape[:2] or source.mask.dtype != bool):
            found = f"{source.mask.dtype} {source.mask.shape}"
            raise InvalidRequest(f"{view}: mask is {found}, expected bool {shape[:2]} as its camera says")
        if source.mask is not None and not source.mask.any():
            raise InvalidRequest(f"{view}: its mask excludes every pixel; True = usable is expected")
    for k, target in enumerate(targets):
        target.check(f"target {k}")
    for k, before in enumerate(earlier):
        if before.spread is None:
            raise InvalidRequest(f"earlier view {k} has no spread; views that the pipeline made are expected")


def check_options(time_budget: float | None, samples: int) -> None:
    """Raise InvalidRequest for a budget or a number of samples that cannot be."""
    if time_budget is not None and not 0 < time_budget < math.inf:
        raise InvalidRequest(f"time budget of {time_budget:g} s, expected more than 0, or None without limit")
    if not 1 <= samples <= MAX_SAMPLES:
        raise InvalidRequest(f"{samples} samples, expected 1 to {MAX_SAMPLES}")
