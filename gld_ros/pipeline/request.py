"""A request's checks, its own coordinate frame and the size the model works at."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.models.configs import ModelConfig
from gld_ros.pipeline.context import overlap
from gld_ros.pipeline.views import SourceView


def warn_of_poses(sources: Sequence[SourceView], targets: Sequence[Camera]) -> None:
    """Warn of targets that look at nothing a source sees, and say so if the inverse poses would make more sense."""

    def inverted(camera: Camera) -> Camera:
        return camera.moved(camera.w2c)

    for k, target in enumerate(targets):
        if overlap(sources, target) == 0:
            others = [replace(source, camera=inverted(source.camera)) for source in sources]
            hint = "; with the inverse poses they would: c2w is expected, is this w2c?" * bool(
                overlap(others, inverted(target))
            )
            warnings.warn(
                f"target {k} looks away from all sources: nothing they see would be in it{hint}", stacklevel=3
            )


class RelativeFrame:
    """World coordinates of a request, near 0 and near 1: float32 would lose a robot's position in map coordinates.

    The origin is the first source camera's centre, the unit the mean distance between source cameras (1 where they
    coincide).
    """

    def __init__(self, cameras: Sequence[Camera]):
        centres = np.stack([c.center for c in cameras])
        pairs = [np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]]
        self.baseline = float(np.mean(pairs)) if pairs else 0.0
        self.unit = self.baseline if self.baseline > 1e-9 else 1.0
        self.origin = centres[0]

    def relative(self, c2w: np.ndarray) -> np.ndarray:
        """(4, 4) c2w in this frame."""
        pose = c2w.copy()
        pose[:3, 3] = (pose[:3, 3] - self.origin) / self.unit
        return pose


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
    if not 1 <= len(sources) <= config.max_sources:
        raise InvalidRequest(f"{len(sources)} source views, expected 1 to {config.max_sources}")
    if not targets:
        raise InvalidRequest("no target cameras, expected at least one")
    views = len(sources) + len(targets)
    if config.max_views and views > config.max_views:
        limit = f"'{config.name}' makes at most {config.max_views} views together"
        raise InvalidRequest(f"{len(sources)} sources and {len(targets)} targets: {limit}")
    patch = config.encoder.patch
    if size is not None and (min(size) < patch or size[0] % patch or size[1] % patch):
        raise InvalidRequest(f"size {size[1]}x{size[0]}: width and height must be multiples of {patch} pixels")
    for k, source in enumerate(sources):
        name = f"source {k}"
        source.camera.check(name)
        shape = (source.camera.height, source.camera.width, 3)
        if source.image.shape != shape or source.image.dtype != np.uint8:
            found = f"{source.image.dtype} {source.image.shape}"
            raise InvalidRequest(f"{name}: image is {found}, expected uint8 {shape} as its camera says")
        if source.depth is not None and source.depth.shape != shape[:2]:
            raise InvalidRequest(f"{name}: depth is {source.depth.shape}, expected {shape[:2]} as its camera says")
    for k, target in enumerate(targets):
        target.check(f"target {k}")
