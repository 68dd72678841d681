# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A path of more views than a model makes together: window after window, so that all of them show one world.

The views of a window are generated together. Each further window is given those of the views made so far that show most
of what it looks at. What these show, and the window's own sources do not, is taken over and counts as generated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gld_ros.errors import NoContext
from gld_ros.geometry.cameras import Camera
from gld_ros.scene.key_frames import select_sources
from gld_ros.views import SourceView, View

#: Most views of earlier windows that a window is given.
OVERLAP = 2


@dataclass(frozen=True)
class Window:
    """Targets that are generated together, from these sources. earlier: views of windows before it."""

    sources: Sequence[SourceView]
    targets: Sequence[Camera]
    earlier: Sequence[View]


#: (targets that are left, most sources and targets together or 0 without limit) -> sources, and the first of these
#: targets, at least one, that they are for.
Choose = Callable[[Sequence[Camera], int], tuple[Sequence[SourceView], Sequence[Camera]]]


def next_window(made: Sequence[View], left: Sequence[Camera], max_views: int, choose: Choose) -> Window:
    """The first window of the targets that are left, after the views made of a path.

    max_views: most sources, earlier views and targets together; 0 means no limit.
    """
    overlap = min(OVERLAP, len(made))
    sources, targets = choose(left, max_views and max_views - overlap)
    if max_views:
        overlap = min(overlap, max_views - len(sources) - len(targets))
    return Window(sources, targets, showing(made, targets, overlap))


def with_sources(sources: Sequence[SourceView]) -> Choose:
    """Every window has these sources, and as many targets as go with them."""

    def choose(left: Sequence[Camera], most: int) -> tuple[Sequence[SourceView], Sequence[Camera]]:
        return sources, left[: max(most - len(sources), 1)] if most else left

    return choose


def showing(made: Sequence[View], targets: Sequence[Camera], count: int) -> list[View]:
    """At most `count` of the views made, in their order: those that show most of what `targets` look at."""
    if not made or count < 1:
        return []
    try:
        chosen = select_sources(made, targets, count)
    except NoContext:
        return []
    return [view for view in made if any(view is one for one in chosen)]
