# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The clock of a request: none, one that records, one with a deadline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from gld_ros.errors import RequestTimeout

#: Seconds; waits until the device has done all it was given.
Clock = Callable[[], float]
#: Phases of a request in their order. `condition` (what the sources show of the targets): only of models that are
#: conditioned on the warped sources.
PHASES = ("encode", "condition", "level1", "level0", "decode")
#: No view is returned later than this share of the budget, and so many seconds, after the deadline.
GRACE, GRACE_SECONDS = 0.1, 0.05


class Timer:
    """Of a request that may take its time. cut: steps were left out."""

    cut = False

    def done(self, phase: str) -> bool:
        """A phase, or one step of a level, is over. Whether the level's further steps have to be left out.

        Raises RequestTimeout where an answer would come too late.
        """
        return False


class Stopwatch(Timer):
    """Records the seconds that each phase, or each of its steps, took."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._clock, self._last = clock, clock()

    def done(self, phase: str) -> bool:
        now = self._clock()
        self.seconds[phase].append(now - self._last)
        self._last = now
        return False


class Deadline(Timer):
    """Of a request with a time budget: `budget` seconds from `began` on.

    schedule: expected seconds of each step of all phases; spread: at worst they are so many times as long. Where the
    request turned out slower than that, the rest of it is expected to be as slow.
    """

    def __init__(self, began: float, budget: float, schedule: dict[str, list[float]], spread: float, clock: Clock):
        self._end, self._grace = began + budget, grace(budget)
        self._budget, self._schedule, self._spread, self._clock = budget, schedule, spread, clock
        self._done: defaultdict[str, int] = defaultdict(int)
        self._last = clock()
        self._taken = self._expected = 0.0

    def done(self, phase: str) -> bool:
        now, expected = self._clock(), self._next(phase)
        # What is kept of earlier requests takes no time, and says nothing of the machine.
        self._taken += max(now - self._last, expected)
        self._expected += expected
        self._last = now
        self._done[phase] += 1
        rest = PHASES[PHASES.index(phase) + 1 :]
        if self._too_late(rest, self._end + self._grace):
            taken = now - self._end + self._budget
            raise RequestTimeout(
                f"the time budget of {self._budget:.3g} s cannot be kept: {taken:.3g} s are gone after {phase}"
            )
        if self._done[phase] % len(self._schedule[phase]) == 0:
            return False
        late = self._too_late((phase, *rest), self._end)
        self.cut |= late
        return late

    def _too_late(self, phases: tuple[str, ...], end: float) -> bool:
        """Whether these, levels in one step, are expected to be done after `end`, or at worst after the grace."""
        slower = self._taken / self._expected if self._expected else 1.0
        now, rest = self._clock(), sum(map(self._next, phases))
        return now + slower * rest > end or now + max(self._spread, slower) * rest > self._end + self._grace

    def _next(self, phase: str) -> float:
        steps = self._schedule.get(phase) or [0.0]  # a level may be left out
        return steps[self._done[phase] % len(steps)]


def grace(budget: float) -> float:
    """Seconds after the deadline until which views are still returned."""
    return GRACE * budget + GRACE_SECONDS


#: Of requests without a budget.
UNLIMITED = Timer()
