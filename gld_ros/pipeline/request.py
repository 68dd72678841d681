# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A request's checks, its own coordinate frame and the size the model works at."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.frustum import overlap
from gld_ros.networks.configs import ModelConfig
from gld_ros.views import SourceView

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


def working_size(camera: Camera, config: ModelConfig) -> tuple[int, int]:
    """(H, W), multiples of the patch, of about the camera's aspect and of the model's number of pixels."""
    aspect, patch = camera.width / camera.height, config.encoder.patch
    if config.long_side:
        long = config.long_side // patch
        short = max(1, round(long * min(aspect, 1 / aspect)))
        rows, columns = (short, long) if aspect >= 1 else (long, short)
    else:
        rows = max(2, round(math.sqrt(config.patches / aspect)))
        columns = max(2, round(config.patches / rows))
    return rows * patch, columns * patch


def check_request(
    sources: Sequence[SourceView],
    targets: Sequence[Camera],
    config: ModelConfig,
    size: tuple[int, int] | None = None,
) -> None:
    """Raise InvalidRequest naming the view and what is wrong with it."""
    check_views(len(sources), len(targets), config)
    if size is not None:
        check_size(size, config)
    for k, source in enumerate(sources):
        name = f"source {k}"
        source.camera.check(name)
        shape = (source.camera.height, source.camera.width, 3)
        if source.image.shape != shape or source.image.dtype != np.uint8:
            found = f"{source.image.dtype} {source.image.shape}"
            raise InvalidRequest(f"{name}: image is {found}, expected uint8 {shape} as its camera says")
        if source.depth is not None and source.depth.shape != shape[:2]:
            raise InvalidRequest(f"{name}: depth is {source.depth.shape}, expected {shape[:2]} as its camera says")
        if source.depth is not None and source.depth.dtype.kind != "f":
            raise InvalidRequest(f"{name}: depth is {source.depth.dtype}, expected floating-point metres")
    for k, target in enumerate(targets):
        target.check(f"target {k}")


def check_tensors(images: Tensor, K: Tensor, c2w: Tensor, config: ModelConfig) -> None:
    """Raise InvalidRequest unless images (B, S, 3, H, W), K (B, V, 3, 3) and c2w (B, V, 4, 4) make a request."""
    found = f"images are {tuple(images.shape)}, K {tuple(K.shape)}, c2w {tuple(c2w.shape)}"
    B, V = (*K.shape, 0, 0)[:2]
    if images.ndim != 5 or images.shape[::2][:2] != (B, 3) or K.shape != (B, V, 3, 3) or c2w.shape != (B, V, 4, 4):
        raise InvalidRequest(f"{found}; expected (B, S, 3, H, W), (B, V, 3, 3) and (B, V, 4, 4)")
    check_views(images.shape[1], V - images.shape[1], config)
    H, W = images.shape[-2:]
    check_size((H, W), config)
    for b in range(B):
        for v in range(V):
            Camera(K[b, v].double().cpu().numpy(), c2w[b, v].double().cpu().numpy(), W, H).check(f"view {v}")


def check_views(sources: int, targets: int, config: ModelConfig) -> None:
    """Raise InvalidRequest for numbers of sources and targets that the model does not take."""
    if not 1 <= sources <= config.max_sources:
        raise InvalidRequest(f"{sources} source views, expected 1 to {config.max_sources}")
    if targets < 1:
        raise InvalidRequest("no target cameras, expected at least one")
    if config.max_views and sources + targets > config.max_views:
        limit = f"'{config.name}' makes at most {config.max_views} views together"
        raise InvalidRequest(f"{sources} sources and {targets} targets: {limit}")


def check_size(size: tuple[int, int], config: ModelConfig) -> None:
    """Raise InvalidRequest unless the working size (H, W) is made of whole patches."""
    patch = config.encoder.patch
    if min(size) < patch or size[0] % patch or size[1] % patch:
        raise InvalidRequest(f"size {size[1]}x{size[0]}: width and height must be multiples of {patch} pixels")


def check_options(
    steps: int | None, guidance_scale: float | None, time_budget: float | None = None, samples: int = 1
) -> None:
    """Raise InvalidRequest for numbers nothing can be sampled with; None, and 0 steps, are the model's defaults."""
    if steps is not None and steps < 0:
        raise InvalidRequest(f"{steps} sampling steps, expected at least 1")
    if guidance_scale is not None and not math.isfinite(guidance_scale):
        raise InvalidRequest(f"guidance scale {guidance_scale}, expected a finite number")
    if time_budget is not None and not 0 < time_budget < math.inf:
        raise InvalidRequest(f"time budget of {time_budget:g} s, expected more than 0, or None without limit")
    if not 1 <= samples <= MAX_SAMPLES:
        raise InvalidRequest(f"{samples} samples, expected 1 to {MAX_SAMPLES}")
