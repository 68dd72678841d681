# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A made scene: the sources, and views along a path, as the exporters take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import unproject
from gld_ros.scene.ply import Points
from gld_ros.views import ObservedDepth, SourceView, View

#: Points of a cloud at most; of more, a random part is taken.
MOST_POINTS = 500_000


@dataclass(frozen=True)
class Kept:
    """Pixels of a view that clouds keep, in each camera by itself.

    nearest: the share of the depths, counted from the nearest, 0..1; metres: the largest depth, None for no limit;
    confidence: the least, 0..1.
    """

    nearest: float = 0.98
    metres: float | None = None
    confidence: float = 0.0

    def mask(self, depth: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """(H, W) bool of a depth map (H, W), NaN unknown, and its confidence (H, W)."""
        known = np.isfinite(depth)
        if not known.any():
            return known
        limit = np.quantile(depth[known], self.nearest)
        near = depth <= (limit if self.metres is None else min(limit, self.metres))
        return known & near & (confidence >= self.confidence)


@dataclass(frozen=True)
class MadeScene:
    """sources: what was observed; observed: the depth of each, empty where it is unknown; views: made, in the order of
    the path; unit: of all lengths, "m" or "units"; notes: what a reader has to know, a sentence each.
    """

    sources: Sequence[SourceView]
    observed: Sequence[ObservedDepth]
    views: Sequence[View]
    keep: Kept = Kept()
    unit: str = "m"
    notes: Sequence[str] = ()

    @property
    def cameras(self) -> list[Camera]:
        """The cameras of the sources, then those of the views."""
        return [*(source.camera for source in self.sources), *(view.camera for view in self.views)]

    @property
    def names(self) -> list[str]:
        """The names of `cameras`, as files have them."""
        sources = [f"source_{k:03d}" for k in range(len(self.sources))]
        return sources + [f"view_{k:03d}" for k in range(len(self.views))]

    def points(self) -> Points:
        """The cloud of all views, and of the sources' known depth, without what is too far or too unsure."""
        parts = [
            _part(view.depth, view.image, view.confidence, view.generated, view.camera, self.keep)
            for view in self.views
        ]
        for seen in self.observed:
            nothing = np.zeros(seen.depth.shape, bool)
            parts.append(_part(seen.depth, seen.image, seen.confidence, nothing, seen.camera, self.keep))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        if (count := len(columns[0])) > MOST_POINTS:
            chosen = np.sort(np.random.default_rng(0).choice(count, MOST_POINTS, replace=False))
            columns = [column[chosen] for column in columns]
        return Points(*columns)


def _part(
    depth: np.ndarray, image: np.ndarray, confidence: np.ndarray, generated: np.ndarray, camera: Camera, keep: Kept
) -> tuple[np.ndarray, ...]:
    kept = keep.mask(depth, confidence)
    return unproject(depth, camera)[kept], image[kept], confidence[kept], generated[kept]
