# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The real `gld_node` in a process of its own, over real DDS: what cameras cost it, and what a request costs more than
the pipeline (`gld bench node`)."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from gld_ros.benchmarks.latency import Tick, ignore
from gld_ros.benchmarks.requests import model_folder
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.ros.bench.node_run import REQUEST, SPEED, STARTUP, Cameras, NodeRun, play, running_node
from gld_ros.ros.client import GLDClient
from gld_ros.ros.conversions import stamp_to_ns

SAMPLE_EVERY = 0.5  # seconds between two looks at the node's memory


def measure(run: NodeRun, tick: Tick = ignore) -> dict[str, Any]:
    """Start the node, play the cameras to the end, ask for views while they are silent, ask the pipeline alone.

    Raises InvalidRequest for what cannot be run, and GLDError with the end of the node's log where it fails.
    """
    run.check()
    with model_folder(run.model) as model, tempfile.TemporaryDirectory(prefix="gld-bench-") as logs:
        with running_node(run, "gld_bench", model, logs, tick) as (client, cameras, processes):
            period = min(SAMPLE_EVERY, run.frames / run.rate / 50)
            figures = play(run, client, cameras, processes, period)
            asked = [ask(run, client, cameras, seed, tick) for seed in range(run.requests)]
            stages = stages_of(client)
        alone = pipeline_alone(run, model, cameras, asked, tick)
    return {"run": vars(run) | {"size": [run.size[1], run.size[0]]}, "cameras": figures} | requests_of(
        asked, alone, stages
    )


@dataclass(frozen=True)
class Asked:
    """One request over DDS. seconds: until the answer was here; node: what the node says of its latency, seconds;
    stamps: of the sources it used; x: where the wanted camera stood."""

    seconds: float
    node: float
    stamps: list[int]
    x: float


def ask(run: NodeRun, client: GLDClient, cameras: Cameras, seed: int, tick: Tick) -> Asked:
    """A view from between the places the robot came by last. Raises the node's error."""
    x = SPEED * run.frames / run.rate - 0.15
    answer = client.synthesize(cameras.wall.camera(x), seed=seed, timeout=REQUEST)
    tick(None)
    stamps = [stamp_to_ns(stamp) for stamp in answer.views[0].message.source_stamps]
    return Asked(answer.seconds, answer.latency, stamps, x)


def pipeline_alone(run: NodeRun, model: str, cameras: Cameras, asked: list[Asked], tick: Tick) -> list[float]:
    """Seconds of the same requests, same sources, asked of a pipeline in this process."""
    if not asked:
        return []
    pipe = GLDPipeline.from_pretrained(
        model, device=None if run.device == "auto" else run.device, local_files_only=True
    )
    seconds = []
    for seed, request in enumerate([asked[0], *asked], start=-1):  # the first once more, to warm up
        sources = [cameras.wall.view(cameras.places[stamp], stamp) for stamp in request.stamps]
        began = time.perf_counter()
        pipe(sources, [cameras.wall.camera(request.x)], seed=max(seed, 0))
        seconds.append(time.perf_counter() - began)
        tick(None)
    return seconds[1:]


def stages_of(client: GLDClient) -> dict[str, float]:
    """Median milliseconds of each stage of a request, as the node says in its diagnostics."""
    for _ in range(2):  # the first may have been under way
        client.wait_for_diagnostics(STARTUP)
    medians = {name: value.split(" / ")[0] for name, value in client.values.items() if " / " in value}
    return {name.removeprefix("latency_").removesuffix("_s"): 1e3 * float(value) for name, value in medians.items()}


def requests_of(asked: list[Asked], alone: list[float], stages: dict[str, float]) -> dict[str, Any]:
    """Milliseconds, medians and p95: of the answer, of the node, of the pipeline alone, and what is between them."""
    if not asked:
        return {"requests": {"count": 0}}

    def both(values: list[float]) -> list[float]:
        return [1e3 * float(np.percentile(values, q)) for q in (50, 95)]

    overhead = 1e3 * float(np.median([request.seconds - request.node for request in asked]))
    node_ms = both([request.node for request in asked])
    answer_ms, pipeline_ms = both([request.seconds for request in asked]), 1e3 * float(np.median(alone))
    found = {
        "count": len(asked),
        "answer_ms": answer_ms,
        "node_ms": node_ms,
        "overhead_ms": overhead,
        "overhead_share": overhead / node_ms[0],
        "pipeline_ms": pipeline_ms,
        "total_overhead_ms": answer_ms[0] - pipeline_ms,
        "total_overhead_share": answer_ms[0] / pipeline_ms - 1,
        "stages_ms": stages,
    }
    return {"requests": found}
