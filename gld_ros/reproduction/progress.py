# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far a reproduction is, and how long the rest takes by what was measured so far."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict

from tqdm import tqdm

LINES_EVERY = 30.0  # seconds, where stderr is no terminal


class Progress:
    """Counts units of work by kind. costs: rough seconds of a unit, which count until units of the kind are measured
    and then only for how they compare with the others."""

    def __init__(self, units: dict[str, int], costs: dict[str, float]):
        self.left, self.costs = Counter(units), costs
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.count: Counter[str] = Counter()
        self._last = self._started = time.monotonic()
        self._line = -LINES_EVERY
        self._bar = tqdm(total=100, bar_format="{desc} {bar} {n:.0f} %", leave=False, disable=None)

    def skip(self, kind: str, units: int) -> None:
        """Units that were done before this process."""
        self.left[kind] -= units
        self._last = time.monotonic()

    def done(self, kind: str, units: int = 1) -> None:
        """Units that took the time since the last call."""
        now = time.monotonic()
        self.seconds[kind] += now - self._last
        self.count[kind] += units
        self.left[kind] -= units
        self._last = now
        self._show(kind, now)

    def remaining(self) -> float:
        """Seconds."""
        guessed = sum(self.costs[kind] * n for kind, n in self.count.items())
        slowness = sum(self.seconds.values()) / guessed if guessed else 1.0
        return sum(max(n, 0) * self._cost(kind, slowness) for kind, n in self.left.items())

    def _cost(self, kind: str, slowness: float) -> float:
        measured = self.count[kind] >= 5
        return self.seconds[kind] / self.count[kind] if measured else self.costs[kind] * slowness

    def _show(self, kind: str, now: float) -> None:
        remaining, spent = self.remaining(), now - self._started
        share = 100 * spent / (spent + remaining) if spent + remaining else 100.0
        text = f"{kind}: {spent / 60:.1f} min so far, about {remaining / 60:.1f} min left"
        self._bar.set_description(text)
        self._bar.update(share - self._bar.n)
        if self._bar.disable and now - self._line > LINES_EVERY:
            self._line = now
            print(f"{share:3.0f} % {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._bar.close()
