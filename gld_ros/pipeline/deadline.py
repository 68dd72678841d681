# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Time budgets: running means of the time that phases take, and what of a request fits into the time that is left.

The means are learnt from the requests themselves. Before anything was measured, a request starts as it was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from gld_ros.errors import RequestTimeout
from gld_ros.generators.base import Generator
from gld_ros.generators.request import Request

#: Seconds; waits until the device has done its work.
Clock = Callable[[], float]
#: No view is returned later than this share of the budget, and so many seconds, after the deadline.
GRACE, GRACE_SECONDS = 0.1, 0.05
#: Weight of the newest time in a running mean.
NEWEST = 0.25
#: Least factor between an expected time and what it may be at worst; a handful of requests shows little of the tail.
LEAST_SPREAD = 1.15
#: Seconds without a request after which a machine that became slow may be as fast as ever again.
REST = 5.0
#: Shares of the working size, along each side, that a family which works at any size may give up.
SIZES = (0.75, 0.5)


class Speed:
    """Running means of the seconds per unit of work (token) of each phase, one for each magnitude of a step's work.

    spread: at worst a request takes so many times as long as expected. newest: time of the last measurement.
    """

    def __init__(self) -> None:
        self._rates: dict[str, dict[int, float]] = {}
        self._least: dict[str, dict[int, float]] = {}
        self.newest = -math.inf
        self._error = 0.0  # running mean of |log(taken / expected)| of requests

    @property
    def spread(self) -> float:
        return max(LEAST_SPREAD, math.exp(2.5 * self._error))

    def knows(self, phases: dict[str, list[float]]) -> bool:
        """True if every phase was measured."""
        return all(phase in self._rates for phase, steps in phases.items() if any(steps))

    def learn(self, phase: str, steps: list[float], seconds: float) -> None:
        """These steps (their work) of a phase took so long. Work of 0 says nothing."""
        work = sum(steps)
        if work <= 0:
            return
        rates, size, rate = self._rates.setdefault(phase, {}), _magnitude(work / len(steps)), seconds / work
        rates[size] = rates[size] + NEWEST * (rate - rates[size]) if size in rates else rate
        least = self._least.setdefault(phase, {})
        least[size] = min(least.get(size, rate), rate)

    def judge(self, taken: float, expected: float) -> None:
        """A request is over."""
        self._error += NEWEST * (abs(math.log(max(taken, 1e-9) / max(expected, 1e-9))) - self._error)

    def rest(self) -> bool:
        """Expect the least times that were measured; False if these are expected anyway."""
        changed = self._rates != self._least or self._error > 0
        self._rates, self._error = {phase: dict(rates) for phase, rates in self._least.items()}, 0.0
        return changed

    def seconds(self, phase: str, work: float, guess: bool = False) -> float:
        """Expected time of one step. A phase that was never measured takes none or, by `guess`, as long for its work
        as the slowest."""
        if work <= 0:
            return 0.0
        size, rates = _magnitude(work), self._rates.get(phase)
        known = [rates] if rates else list(self._rates.values()) if guess else []
        return work * max((_nearest(each, size) for each in known), default=0.0)


def _magnitude(work: float) -> int:
    return round(4 * math.log2(work))


def _nearest(rates: dict[int, float], size: int) -> float:
    """Seconds per unit at the nearest magnitude; less work than was measured costs more for each unit of it."""
    nearest = min(rates, key=lambda measured: abs(measured - size))
    return rates[nearest] * 2 ** (max(nearest - size, 0) / 16)


class Deadline:
    """The clock of one job, made once: what fits, whether steps have to be left out, whether it is too late.

    budget: seconds from now on, None without limit. A job without limit teaches the means, too.
    """

    def __init__(self, speed: Speed, clock: Clock, budget: float | None = None):
        self._speed, self._clock = speed, clock
        self._began = clock()
        self._end = None if budget is None else self._began + budget

    def plan(self, generator: Generator, request: Request, steps: int | None = None, shares: float = 1) -> Request:
        """The best of `request` that fits into one of `shares` equal shares of the time that is left.

        What is asked for is the most that is taken. First presets give way (steps: asked for, at most), then steps of
        the fastest, then the working size, at last targets, from the end. Raises RequestTimeout where the means say
        that not even one target fits; after a rest the least times that were measured count.
        """
        now = self._clock()
        if self._end is None:
            self._start(generator, request, now, math.inf)
            return request
        left = (self._end - now) / shares
        if not self._speed.knows(generator.phases(request)) and left > 0:
            self._start(generator, request, now, left)
            return request
        # By the deadline as expected, at worst within its grace.
        most = min(left, (left + grace(left)) / self._speed.spread)
        tried = list(candidates(generator, request, steps))
        fewer = (replace(tried[-1], targets=request.targets[:n]) for n in range(len(request.targets) - 1, 0, -1))
        for candidate in (*tried, *fewer):
            if self._seconds(generator, candidate) <= most:
                self._start(generator, candidate, now, left)
                return candidate
        if now - self._speed.newest > REST and self._speed.rest():
            return self.plan(generator, request, steps, shares)
        fastest = self._seconds(generator, replace(tried[-1], targets=request.targets[:1]))
        raise RequestTimeout(
            f"time budget of {self._end - self._began:.3g} s, {max(left, 0):.3g} s left: the fastest view takes about "
            f"{fastest:.3g} s here, at worst {self._speed.spread:.2g} times as long"
        )

    def _seconds(self, generator: Generator, request: Request) -> float:
        phases = generator.phases(request)
        return sum(self._speed.seconds(phase, work) for phase, steps in phases.items() for work in steps)

    def _start(self, generator: Generator, request: Request, now: float, budget: float) -> None:
        phases, seconds = generator.phases(request), self._speed.seconds
        # Known times stay as planned during the request; it learns unknown ones as it goes.
        self._known = self._speed.knows(phases)
        #: (work, expected seconds) of the steps of each phase that are not done.
        self._left = {p: [(work, seconds(p, work)) for work in steps] for p, steps in phases.items()}
        self._budget, self._due, self._started, self._last = budget, now + budget, now, now
        self._taken = self._expected = 0.0
        self._pending: list[tuple[float, float]] = []

    def done(self, phase: str) -> bool:
        """A phase, or one step of it, is over. Returns True if the phase's further steps have to be left out.

        Raises RequestTimeout where an answer would come too late.
        """
        self._pending.append(self._left[phase].pop(0))
        if math.isinf(self._due) and self._left[phase]:
            return False  # without a limit the device is waited for once a phase
        now, pending = self._clock(), self._pending
        seconds, expected = now - self._last, sum(expected for _, expected in pending)
        self._last, self._pending = now, []
        self._taken += max(seconds, expected)
        self._expected += expected
        self._speed.learn(phase, [work for work, _ in pending], seconds)
        self._speed.newest = now
        rest = list(self._left)[list(self._left).index(phase) + 1 :]
        if not rest and self._known and self._expected:
            self._speed.judge(now - self._started, self._expected)
        if self._late(now, rest, self._due + grace(self._budget), guess=False):
            raise RequestTimeout(
                f"the time budget of {self._budget:.3g} s cannot be kept: {now - self._started:.3g} s are gone after "
                f"{phase}"
            )
        if not self._left[phase] or not self._late(now, [phase, *rest], self._due):
            return False
        self._left[phase] = []
        return True

    def _late(self, now: float, phases: list[str], end: float, guess: bool = True) -> bool:
        """Tell whether one step of each of these is expected to end after `end`, or at worst after the grace."""
        steps = [(phase, *self._left[phase][0]) for phase in phases if self._left[phase]]
        if self._known:
            rest = sum(expected for _, _, expected in steps)
            slower = self._taken / self._expected if self._expected else 1.0
        else:
            rest, slower = sum(self._speed.seconds(phase, work, guess) for phase, work, _ in steps), 1.0
        worst = max(self._speed.spread, slower) * rest
        return now + slower * rest > end or now + worst > self._due + grace(self._budget)


def grace(budget: float) -> float:
    """Seconds after the deadline until which views are still returned."""
    return GRACE * budget + GRACE_SECONDS


def candidates(generator: Generator, request: Request, steps: int | None = None) -> Iterator[Request]:
    """The request as it was asked for, then faster ones, the best first. steps: asked for, the most of each phase."""
    yield request
    presets, patch = generator.presets, generator.limits.patch
    names = list(presets)
    scale = {phase: how.guidance_scale for phase, how in request.preset.sampling.items()}
    fastest = request
    for name in names[names.index(request.preset.name) + 1 :]:
        preset = presets[name].capped(steps)
        sampling = {phase: replace(how, guidance_scale=scale[phase]) for phase, how in preset.sampling.items()}
        fastest = replace(request, preset=replace(preset, sampling=sampling))
        yield fastest
    most = fastest.preset.steps
    for count in range(most - 1, max(most // 2, 1) - 1, -1):
        yield replace(fastest, preset=fastest.preset.capped(count))
    for share in SIZES if generator.limits.any_size else ():
        fastest = replace(fastest, size=smaller(request.size, share, patch))
        yield fastest
    for count in range(most // 2, 0, -1):
        yield replace(fastest, preset=fastest.preset.capped(count))


def smaller(size: tuple[int, int], share: float, patch: int) -> tuple[int, int]:
    """(H, W) of about that share along each side, whole patches, at least two."""
    rows, columns = (max(2, round(share * side / patch)) for side in size)
    return rows * patch, columns * patch
