# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Are time budgets kept? Random budgets by the real clock of this machine."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np

from gld_ros.benchmarks.latency import WARM_UP, Tick, ignore
from gld_ros.benchmarks.requests import Shape, request_settings, wall_request
from gld_ros.errors import InvalidRequest, RequestTimeout
from gld_ros.generators.timer import grace
from gld_ros.pipeline.pipeline import GLDPipeline

#: Budgets lie between these factors of the seconds that the request takes without one.
SPAN = (0.1, 2.0)


def measure(pipe: GLDPipeline, shape: Shape, budgets: int, seed: int = 0, tick: Tick = ignore) -> dict[str, Any]:
    """One request a random budget, sources never seen before. Raises InvalidRequest for no budget.

    requests: budget, seconds until views or refusal, views, preset, complete of each; counts of the outcomes;
    worst_excess_s: seconds after the deadline, of answers and of refusals; kept: none later than 10 % and 50 ms.
    """
    if budgets < 1:
        raise InvalidRequest(f"{budgets} budgets, expected at least 1")
    sources, targets = wall_request(shape)
    settings = request_settings(pipe, shape)

    def ask(budget: float | None) -> dict[str, Any]:
        pipe.forget()
        began = pipe.clock()
        try:
            views = pipe(sources, targets, time_budget=budget, **settings)
        except RequestTimeout:
            views = []
        row: dict[str, Any] = {"budget_s": budget, "seconds": pipe.clock() - began, "views": len(views)}
        if views:
            row |= {"preset": views[0].preset, "complete": all(view.complete for view in views)}
        return row

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights know no scale
        costs = pipe.costs()
        alone = [ask(None)["seconds"] for _ in range(WARM_UP[pipe.device.type] + 2)][-1]
        rows = []
        low, high = np.log(SPAN)
        for factor in np.exp(np.random.default_rng(seed).uniform(low, high, budgets)):
            rows.append(ask(float(factor * alone)))
            tick(None)
    answered = [row for row in rows if row["views"]]
    refused = [row for row in rows if not row["views"]]
    return {
        "model": pipe.name,
        "device": pipe.device.type,
        "views": [shape.sources, shape.targets],
        "size": [shape.size[1], shape.size[0]],
        "without_budget_s": alone,
        "spread": costs.spread,
        "answered": len(answered),
        "refused": len(refused),
        "incomplete": sum(not row["complete"] for row in answered),
        "with_fewer_views": sum(row["views"] < shape.targets for row in answered),
        "presets": dict(Counter(row["preset"] for row in answered)),
        "worst_excess_s": {"answered": excess(answered), "refused": excess(refused)},
        "slowest_refusal_s": max((row["seconds"] for row in refused), default=None),
        "kept": all(row["seconds"] <= row["budget_s"] + grace(row["budget_s"]) for row in rows),
        "requests": rows,
    }


def excess(rows: list[dict[str, Any]]) -> float | None:
    """Seconds after the deadline of the latest, negative where all were before; None without any."""
    return max((row["seconds"] - row["budget_s"] for row in rows), default=None)
