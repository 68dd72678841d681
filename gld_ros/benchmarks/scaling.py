# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Latency against views, pixels and requests at the same time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gld_ros.benchmarks.latency import Tick, ignore
from gld_ros.benchmarks.requests import Shape, Variant, request_settings, wall_request
from gld_ros.benchmarks.timing import check_repeat, summary, synchronize
from gld_ros.errors import InvalidRequest
from gld_ros.pipeline.pipeline import GLDPipeline


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
