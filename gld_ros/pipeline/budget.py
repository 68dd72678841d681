# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What of a request fits into a time budget: preset, steps, size and number of targets, the best first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gld_ros.errors import RequestTimeout
from gld_ros.generators.method import Options
from gld_ros.generators.presets import Preset, presets
from gld_ros.generators.timer import Clock, Deadline, grace
from gld_ros.geometry.cameras import Camera
from gld_ros.networks.configs import FlowConfig, ModelConfig
from gld_ros.pipeline.costs import CostModel, demands

#: Shares of the working size, along each side, that the released models may give up.
SIZES = (0.75, 0.5)


def plan(
    cost: CostModel,
    config: ModelConfig,
    sources: Sequence[Camera],
    targets: Sequence[Camera],
    options: Options,
    budget: float,
    began: float,
    clock: Clock,
    kept: Callable[[Options], bool] = lambda options: False,
) -> tuple[Options, list[Camera]]:
    """The best of what is asked for that fits, with its deadline, and the targets it has time for.

    budget: seconds from `began` on. kept: whether the sources are encoded already. What is asked for is the most that
    is taken. First presets give way, then steps of the fastest, then the working size, at last targets, from the end.
    Raises RequestTimeout where not even one fits.
    """
    left = began + budget - clock()
    # By the deadline as expected, at worst within its grace.
    most = min(left, (left + grace(budget)) / cost.spread)

    def fitting(candidate: Options, targets: Sequence[Camera]) -> tuple[Options, list[Camera]] | None:
        schedule = cost.schedule(demands(config, sources, targets, candidate))
        if seconds(schedule) > most and kept(candidate):
            schedule["encode"] = [0.0]
        if seconds(schedule) > most:
            return None
        return replace(candidate, timer=Deadline(began, budget, schedule, cost.spread, clock)), list(targets)

    tried = list(candidates(options, config))
    for candidate in tried:
        if found := fitting(candidate, targets):
            return found
    for count in range(len(targets) - 1, 0, -1):
        if found := fitting(tried[-1], targets[:count]):
            return found
    fastest = seconds(cost.schedule(demands(config, sources, targets[:1], tried[-1])))
    raise RequestTimeout(
        f"time budget of {budget:.3g} s, {max(left, 0):.3g} s left: the fastest view takes about {fastest:.3g} s here, "
        f"at worst {cost.spread:.2g} times as long"
    )


def seconds(schedule: dict[str, list[float]]) -> float:
    """Seconds of a whole request."""
    return sum(sum(steps) for steps in schedule.values())


def candidates(options: Options, config: ModelConfig) -> Iterator[Options]:
    """What is asked for, and what is faster, the best first."""
    yield options
    named = presets(config)
    slower = list(named)[: list(named).index(options.preset.name) + 1]
    for preset in named.values():
        if preset.name not in slower:
            yield capped(replace(options, preset=preset), config.flow, options.steps)
    fastest = capped(replace(options, preset=list(named.values())[-1]), config.flow, options.steps)
    own = max(how.steps for how in fastest.sampling(config.flow))
    for steps in range(own - 1, own // 2 - 1, -1):
        if steps:
            yield capped(fastest, config.flow, steps)
    for share in () if config.warps else SIZES:
        fastest = replace(fastest, size=smaller(options.size, share, config.encoder.patch))
        yield fastest
    for steps in range(own // 2, 0, -1):
        yield capped(fastest, config.flow, steps)


def capped(options: Options, flow: FlowConfig, limit: int | None) -> Options:
    """At most so many steps of each stage."""
    if limit is None:
        return options
    steps, level0_steps = (min(limit, how.steps) for how in replace(options, steps=None).sampling(flow))
    preset: Preset = replace(options.preset, steps=steps, level0_steps=level0_steps)
    return replace(options, preset=preset, steps=None)


def smaller(size: tuple[int, int], share: float, patch: int) -> tuple[int, int]:
    """(H, W) of about that share along each side, whole patches, at least two."""
    rows, columns = (max(2, round(share * side / patch)) for side in size)
    return rows * patch, columns * patch
