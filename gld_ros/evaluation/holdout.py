# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames of a sequence are shown to the model, and which are left out and asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHORT = 8  # instants; below, every second one is left out, else every third


@dataclass(frozen=True)
class HoldOut:
    """Indices of instants (frames of one time). Every target lies between two shown instants.

    shown: published. left_out: not published. targets: those of `left_out` that are asked for.
    """

    shown: list[int]
    left_out: list[int]
    targets: list[int]


def hold_out(count: int, max_targets: int, max_instants: int = 60) -> HoldOut:
    """Choose among `count` instants in time order. A long sequence is thinned evenly to `max_instants` first.

    Raises ValueError below 3 instants: nothing could be bracketed.
    """
    if count < 3:
        raise ValueError(f"{count} instants: at least 3 are needed to leave one out between two others")
    used = [int(index) for index in np.unique(np.linspace(0, count - 1, min(count, max_instants)).round())]
    asked = used[1:-1:2] if len(used) < SHORT else used[1:-1:3]
    picks = np.linspace(0, len(asked) - 1, min(len(asked), max_targets)).round().astype(int)
    shown = [index for index in used if index not in asked]
    left_out = sorted(set(range(count)) - set(shown))
    return HoldOut(shown, left_out, [asked[pick] for pick in np.unique(picks)])
