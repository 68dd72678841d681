# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the model fails: out of memory it is asked for less, and what it cannot do is kept for those who mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gld_ros.errors import FileError, ModelError, OutOfMemory, RequestTimeout
from gld_ros.generators.devices import out_of_memory
from gld_ros.geometry.cameras import Camera
from gld_ros.pipeline import failed_request
from gld_ros.pipeline.failed_request import FailedRequest
from gld_ros.pipeline.windows import Window
from gld_ros.ros.node.worker import Job
from gld_ros.views import Progress, View

LEAST_SOURCES = 2  # fewer show no parallax, so that there would be no scale


class Fallbacks:
    """folder: of the requests that failed, the newest `keep`; 0 keeps none. warn(key, message): the log.

    `degraded` and `kept` count what was made with less and what was written. Used in the worker's thread only.
    """

    def __init__(
        self, folder: str = "", keep: int = 0, warn: Callable[[str, str], object] = lambda key, message: None
    ) -> None:
        self.degraded = self.kept = 0
        self._folder, self._keep, self._warn = Path(folder).expanduser(), keep, warn

    def views(
        self,
        pipe: Any,
        window: Window,
        wanted: int,
        job: Job,
        on_progress: Callable[[int, Progress], None],
        settings: dict[str, Any],
    ) -> list[View]:
        """Views of the first targets of `window`, in their share of the time that is left for `wanted` ones.

        While the memory does not suffice: of the first target alone, with fewer sources and without earlier views, then
        with a smaller `size`.
        Where their share of the time does not: as many as fit by the preset "fast". on_progress(count, progress): of so
        many views. Raises OutOfMemory where the least is too much, and whatever else the pipeline raises.
        """
        for attempt, (less, size) in enumerate(attempts(pipe, window)):
            first = less.targets
            alone = len(first) == wanted
            more = size | {"time_budget": job.left and job.left * len(first) / wanted, "earlier": less.earlier}
            reason = ""
            while not reason:
                try:
                    views = pipe(less.sources, first, callback=partial(on_progress, len(first)), **settings, **more)
                    checked = checked_views(views, first)
                    self.degraded += attempt > 0
                    return checked
                except RequestTimeout:
                    if alone or "preset" in more:
                        raise
                except Exception as error:
                    if not (isinstance(error, OutOfMemory) or out_of_memory(error)):
                        raise
                    reason = str(error) or type(error).__name__
                if not reason:
                    job.check()
                    more |= {"time_budget": job.left, "preset": "fast"}
            # Outside `except`, whose traceback holds the tensors.
            release(pipe)
            what = f"{len(less.sources)} sources" + (f" and {len(first)} views" if len(first) > 1 else "")
            what += f" at {size['size']}" if size else ""
            self._warn("memory", f"too little memory for {what}, trying with less: {reason}")
        raise OutOfMemory(f"the device has too little memory, even for {what}: {reason}")

    def keep(self, error: Exception, failed: FailedRequest) -> ModelError:
        """`error` as a ModelError that says where the request was kept."""
        message = str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
        if not self._keep:
            return ModelError(message)
        try:
            file = failed_request.save(self._folder, failed, self._keep)
        except FileError as full:
            self._warn("failure", f"a failed request is not kept: {full}")
            return ModelError(message)
        self.kept += 1
        return ModelError(f"{message} (the request is kept in {file})")


def attempts(pipe: Any, window: Window) -> Iterator[tuple[Window, dict[str, Any]]]:
    """Windows and settings that take less and less memory."""
    yield window, {}
    first = replace(window, targets=window.targets[:1])
    if len(window.targets) > 1:
        yield first, {}
    least = replace(first, sources=window.sources[:LEAST_SOURCES], earlier=[])
    if len(least.sources) < len(first.sources) or first.earlier:
        yield least, {}
    for size in pipe.smaller_sizes(least.sources[0].camera):
        yield least, {"size": size}


def release(pipe: Any = None) -> None:
    """Give back what a pipeline keeps besides its weights, and what nobody uses any more."""
    if pipe is not None:
        pipe.forget()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def checked_views(views: Sequence[View], targets: Sequence[Camera]) -> list[View]:
    """`views`, of the first of `targets`: within a time budget there may be fewer, but at least one. Raises ModelError
    unless each is whole: of its target's size, finite, depths above 0 or NaN."""
    if not 1 <= len(views) <= len(targets):
        raise ModelError(f"the model gave {len(views)} views, expected {len(targets)}")
    for view, target in zip(views, targets, strict=False):
        check_view(view, target)
    return list(views)


def check_view(view: View, target: Camera) -> None:
    """Raise ModelError that names what is wrong with a view."""
    size = target.height, target.width
    shapes = {"image": (*size, 3), "depth": size, "confidence": size, "generated": size}
    for name, shape in shapes.items():
        found = np.shape(getattr(view, name))
        if found != shape:
            raise ModelError(f"the model's {name} is {found}, expected {shape}")
    if view.image.dtype != np.uint8:
        raise ModelError(f"the model's image is {view.image.dtype}, expected uint8")
    if not (np.isfinite(view.confidence).all() and 0 <= view.confidence.min() and view.confidence.max() <= 1):
        raise ModelError("the model's confidence is not finite, or not within 0 and 1")
    if not (np.isnan(view.depth) | (np.isfinite(view.depth) & (view.depth > 0))).all():
        raise ModelError("the model's depth is not above 0 and finite, or NaN where unknown")
    if not np.isfinite(view.camera.c2w).all() or not np.isfinite(view.scale.value) or view.scale.value <= 0:
        raise ModelError(f"the model's pose or scale ({view.scale.value}) is not finite")
