# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How `gld_node` is: `/diagnostics` for those who watch, `~/status` for those who come late."""

from __future__ import annotations

import sys
import time
from typing import Any

import psutil
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.ros.declarations import publisher
from gld_ros.ros.node.counters import diagnostic
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.topics import INTERFACE

MB = 1e6


class Health:
    """Publishes both, and warns of inputs that are silent. Called by the node's timer.

    `~/status` is the node's own part of the diagnostics, sent again whenever its level or message changes.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared, self._node, self._counters, self._warn = shared, shared.node, shared.counters, shared.warn
        self._heard: dict[str, tuple[int, float]] = {}  # topic: messages received, and when that last changed
        self._once: set[str] = set()  # of these, topics on which one message is enough
        self._said: tuple[bytes, str] | None = None
        self._diagnostics = publisher(shared.node, INTERFACE, "/diagnostics")  # not counted: it would tell of itself
        self._status = shared.publisher("~/status")

    def listen(self, topic: str, once: bool = False) -> None:
        """Warn from now on where nothing comes on `topic`; where nothing ever came, if it is sent `once`."""
        self._heard[topic] = (0, time.monotonic())
        (self._once.add if once else self._once.discard)(topic)
        self._counters.add(topic, "received", 0)

    def forget_inputs(self) -> None:
        self._heard.clear()

    def report(self, state: str, values: dict[str, object]) -> None:
        """Publish how the node is. state: of its lifecycle; values: of its own status."""
        counts = self._counters.snapshot()
        self._warn_of_silence(counts, self._shared.parameters.input_timeout)
        name = self._node.get_fully_qualified_name()
        level, message = self._verdict()
        own = diagnostic(f"{name}: node", name, level, message or state, {"state": state, **values})
        if (own.level, own.message) != self._said:
            self._said = own.level, own.message
            self._status.publish(own)
        topics = [
            diagnostic(f"{name}: {topic}", name, DiagnosticStatus.OK, "", dict(topic_counts))
            for topic, topic_counts in sorted(counts.items())
        ]
        msg = DiagnosticArray(status=[own, *topics])
        msg.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(msg)

    def _verdict(self) -> tuple[bytes, str]:
        """Level and message; no message where all is well."""
        worker = self._shared.worker
        if worker.failure:
            return DiagnosticStatus.ERROR, worker.failure
        hangs = worker.hangs(self._shared.parameters.watchdog_timeout)
        if hangs:
            self._warn("watchdog", f"the request at work hangs: {hangs}")
            return DiagnosticStatus.ERROR, hangs
        if worker.crashes:
            return DiagnosticStatus.WARN, f"the worker crashed {worker.crashes} times"
        return DiagnosticStatus.OK, ""

    def _warn_of_silence(self, counts: dict[str, dict[str, int]], timeout: float) -> None:
        now = time.monotonic()
        silent = []
        for topic, (before, since) in self._heard.items():
            received = counts[topic]["received"]
            if received != before:
                self._heard[topic] = (received, now)
            elif 0 < timeout < now - since and not (received and topic in self._once):
                silent.append(f"'{topic}' ({now - since:.0f} s, {self._node.count_publishers(topic)} publishers)")
        if silent:
            self._warn("silence", f"no input on {', '.join(silent)}")


def model_values(pipe: GLDPipeline | None) -> dict[str, Any]:
    """Which model works where, and what memory that takes. Empty texts without a model."""
    heap = psutil.heap_info() if hasattr(psutil, "heap_info") else None  # since psutil 7.2, with glibc
    values: dict[str, Any] = {
        "model": pipe.name if pipe is not None else "",
        "device": str(pipe.device) if pipe is not None else "",
        "memory_mb": round(psutil.Process().memory_info().rss / MB),
        "heap_bytes": heap.heap_used + heap.mmap_used if heap is not None else "",
        "python_blocks": sys.getallocatedblocks(),
    }
    if pipe is not None and pipe.device.type == "cuda":
        values["gpu_memory_mb"] = round(torch.cuda.memory_allocated(pipe.device) / MB)
        values["gpu_memory_peak_mb"] = round(torch.cuda.max_memory_allocated(pipe.device) / MB)
    return values


def age_values(stamps: list[int], now: int) -> dict[str, str]:
    """Seconds from the key frames' stamps (ns) to `now` (ns): of the newest and of the oldest."""
    ages = [f"{(now - stamp) * 1e-9:.1f}" for stamp in (max(stamps), min(stamps))] if stamps else ["", ""]
    return {"newest_key_frame_age_s": ages[0], "oldest_key_frame_age_s": ages[1]}
