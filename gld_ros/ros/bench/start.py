# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The seconds from the start of `gld_node` to its first answer, part by part (`gld bench start`)."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from gld_ros.benchmarks.latency import Tick, ignore
from gld_ros.benchmarks.requests import model_folder
from gld_ros.errors import InvalidRequest
from gld_ros.ros.bench.node_run import NODE, REQUEST, STARTUP, NodeRun, running_node
from gld_ros.ros.bench.timed_node import IMPORTS, MARK
from gld_ros.ros.client import ClientError, GLDClient
from gld_ros.ros.client_messages import ANSWERED

RETRY = 0.05  # seconds until the next request while the node has too few key frames


def measure(model: str, device: str, repeat: int, tick: Tick = ignore) -> dict[str, Any]:
    """Start the node `repeat` times. Raises InvalidRequest, and GLDError with the end of the node's log."""
    if repeat < 1:
        raise InvalidRequest(f"--repeat is {repeat}, expected at least 1")
    run = NodeRun(model, device, frames=3000, size=(480, 640))
    starts = []
    with model_folder(model) as folder:
        for _ in range(repeat):
            starts.append(_start(run, folder))
            tick(None)
    return {"model": model, "device": device, "cores": len(psutil.Process().cpu_affinity()), "starts": starts}


def _start(run: NodeRun, model: str) -> dict[str, Any]:
    """Seconds since the process began: active, and first answer, as a client sees them; parts with their seconds."""
    active: list[float] = []

    def activated(client: GLDClient) -> None:
        client.wait_until_active(STARTUP)
        active.append(time.time())

    with tempfile.TemporaryDirectory(prefix="gld-bench-") as logs:
        module = "gld_ros.ros.bench.timed_node"
        with running_node(run, "gld_bench", model, logs, module=module, activated=activated) as (
            client,
            cameras,
            processes,
        ):
            process = psutil.Process(processes.pid(NODE))
            began = process.create_time()
            cameras.start()
            limit = time.monotonic() + REQUEST
            while True:
                try:
                    client.synthesize(cameras.wall.camera(0.1), timeout=REQUEST)
                    break
                except ANSWERED as error:  # too few key frames so far
                    if time.monotonic() > limit:
                        raise ClientError(f"no answer within {REQUEST:.0f} s: {error}") from error
                    time.sleep(RETRY)
            answered = time.time()
            parts = _parts((Path(logs) / f"{NODE}.log").read_text(), began + time.monotonic() - time.time())
    return {"active_s": active[0] - began, "first_answer_s": answered - began, "parts": parts}


def _parts(log: str, began: float) -> list[dict[str, Any]]:
    """The lines of timed_node.py, in the order of their beginnings. began: of the process, monotonic seconds."""
    lines = [json.loads(line.partition(MARK)[2]) for line in log.splitlines() if line.startswith(MARK)]
    rows = []
    for part, start, cpu_start, end, cpu_end in lines:
        start = began if part == IMPORTS else start
        rows.append({"part": part, "after_s": start - began, "seconds": end - start, "cpu_s": cpu_end - cpu_start})
    return sorted(rows, key=lambda row: (row["after_s"], -row["seconds"]))
