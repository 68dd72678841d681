# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Latency of whole requests, alone and at the same time, their stages, and how well the device is used by sampling."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from gld_ros.benchmarks.requests import Shape, Variant, request_settings, wall_request
from gld_ros.benchmarks.timing import StageTimes, check_repeat, summary, synchronize
from gld_ros.errors import InvalidRequest
from gld_ros.generators.request import Request
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import Progress

#: Untimed requests first; engines that compile or record need the second.
WARM_UP = {"cuda": 2, "cpu": 1}
#: Requests, at most, whose stages are timed; they are apart from those whose whole is.
STAGED = 3
#: Told of every step of untimed requests (its Progress) and of every timed request (None).
Tick = Callable[[Progress | None], None]


def ignore(progress: Progress | None) -> None:
    """A Tick that does nothing."""


def timed_requests(repeat: int) -> int:
    """Number of requests that `measure` times."""
    return 2 * repeat + min(repeat, STAGED)


def measure(
    pipe: GLDPipeline, shape: Shape, variant: Variant, repeat: int, peak: float | None = None, tick: Tick = ignore
) -> dict[str, Any]:
    """Figures of one model, shape and variant. peak: FLOP/s of the device, for the share of it.

    median_s, p95_s: of whole requests without a callback, from the call to the views in main memory, whose sources are
    new each time; again_s: the median of as many with the sources of the request before. stages: seconds, mean of
    further new requests with a callback, whose sum is staged_s. Raises what the pipeline raises.
    """
    check_repeat(repeat)
    sources, targets = wall_request(shape)
    settings = request_settings(pipe, shape) | variant.settings
    for _ in range(WARM_UP[pipe.device.type]):
        pipe(sources, targets, callback=tick, **settings)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for new in [True, False] * repeat:
        if new:
            pipe.forget()
        synchronize(pipe.device)
        began = time.perf_counter()
        pipe(sources, targets, **settings)
        seconds[new].append(time.perf_counter() - began)  # the views are in main memory: nothing is left to wait for
        tick(None)
    staged, totals = [], []
    for _ in range(min(repeat, STAGED)):
        pipe.forget()
        times = StageTimes(pipe.device)
        times.start()
        pipe(sources, targets, callback=times, **settings)
        totals.append(times.finish())
        staged.append(times)
        tick(None)
    row: dict[str, Any] = {
        "model": pipe.name,
        "variant": variant.name,
        "views": [shape.sources, shape.targets],
        "size": [shape.size[1], shape.size[0]],
        "device": pipe.device.type,
        "dtype": str(pipe.generator.dtype).removeprefix("torch."),
        "compiled": pipe.generator.loading.compile,
        "quantize": pipe.generator.loading.quantize,
        **summary(seconds[True]),
        "again_s": float(np.median(seconds[False])),
        "stages": {stage: float(np.mean([t.seconds[stage] for t in staged])) for stage in staged[0].seconds},
        "staged_s": float(np.mean(totals)),
        "steps": staged[0].steps,
        "step_s": {level: float(np.mean([t.step_seconds[level] for t in staged])) for level in staged[0].steps},
    }
    size = settings.get("size") or pipe.generator.working_size(targets[0])
    preset = pipe.generator.preset(settings.get("preset", "exact"))
    asked = preset.changed(settings.get("steps"), settings.get("guidance_scale"))
    return row | utilisation(pipe, Request(sources, targets, size, asked), staged[0], row["stages"], peak)


def utilisation(
    pipe: GLDPipeline, request: Request, times: StageTimes, stages: dict[str, float], peak: float | None
) -> dict[str, Any]:
    """tokens/s and FLOP/s of the sampling loops: what the plain method computes in these steps, a second of the stages.

    stages: seconds of each. The plain method evaluates the network once a step, twice with guidance, for all views of
    the request; steps outside the guidance interval do not count twice. FLOPs are left out of families that do not
    know theirs.
    """
    sampled = request.preset.sampling
    seconds = sum(stages[phase] for phase in sampled)
    tokens = sum(sum(steps) for phase, steps in pipe.generator.phases(request).items() if phase in sampled)
    H, W = request.size
    found: dict[str, Any] = {"working_size": [W, H], "tokens_per_s": times.rounds * tokens / seconds}
    flops = pipe.generator.flops(request)
    if flops is None:
        return found
    flops *= times.rounds
    found |= {"sampling_flops": flops, "achieved_flops_per_s": flops / seconds}
    if peak:
        found |= {"peak_flops_per_s": peak, "share_of_peak": flops / seconds / peak}
    return found


def in_parallel(
    pipe: GLDPipeline, shape: Shape, variant: Variant, clients: int, repeat: int, tick: Tick = ignore
) -> dict[str, Any]:
    """`clients` threads ask one pipeline `repeat` times each, one request after the other, as clients of a node do,
    with sources that are new to it each time.

    The pipeline is not re-entrant: requests wait for each other, and a request's latency includes its wait. Seconds of
    a request, and requests a second of all. Raises InvalidRequest for no client or repeat, and what the pipeline does.
    """
    check_repeat(repeat)
    if clients < 1:
        raise InvalidRequest(f"{clients} requests in parallel, expected at least 1")
    sources, targets = wall_request(shape)
    settings = request_settings(pipe, shape) | variant.settings
    pipe(sources, targets, **settings)
    turn = threading.Lock()
    start = threading.Barrier(clients + 1)

    def client() -> list[float]:
        seconds = []
        start.wait()
        for _ in range(repeat):
            began = time.perf_counter()
            with turn:
                pipe.forget()
                pipe(sources, targets, **settings)
            seconds.append(time.perf_counter() - began)
            tick(None)
        return seconds

    synchronize(pipe.device)
    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(client) for _ in range(clients)]
        start.wait()
        began = time.perf_counter()
        seconds = [s for future in futures for s in future.result()]
        total = time.perf_counter() - began
    return {
        "model": pipe.name,
        "variant": variant.name,
        "views": [shape.sources, shape.targets],
        "size": [shape.size[1], shape.size[0]],
        "clients": clients,
        **summary(seconds),
        "requests_per_s": len(seconds) / total,
    }
