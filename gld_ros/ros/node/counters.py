# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Counters per topic, events of the middleware, throttled warnings: nothing is dropped in silence, nothing floods the
log."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from statistics import median
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind

from gld_ros.ros.declarations import publisher
from gld_ros.ros.node.topics import INTERFACE


class TopicCounters:
    """Thread-safe counts per topic.

    Keys: `received`, `published`, and one `dropped_<reason>` for every reason to drop; `dropped` is their sum.
    """

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._lock = threading.Lock()

    def add(self, topic: str, key: str, count: int = 1) -> None:
        with self._lock:
            self._counts.setdefault(topic, Counter())[key] += count

    def snapshot(self) -> dict[str, dict[str, int]]:
        """Counts per topic; every topic has `received`, `published` and `dropped`."""
        with self._lock:
            copies = {topic: dict(counts) for topic, counts in self._counts.items()}
        for counts in copies.values():
            counts["dropped"] = sum(count for key, count in counts.items() if key.startswith("dropped_"))
            for key in ("received", "published"):
                counts.setdefault(key, 0)
        return copies


class CountedPublisher:
    """The publisher of one of `topics.PUBLISHED`, which counts what it sends."""

    def __init__(self, node: Node, counters: TopicCounters, name: str) -> None:
        self._counters, self._publisher = counters, publisher(node, INTERFACE, name)
        self.topic = self._publisher.topic_name
        counters.add(self.topic, "published", 0)

    def publish(self, msg: Any) -> None:
        self._publisher.publish(msg)
        self._counters.add(self.topic, "published")

    @property
    def listeners(self) -> int:
        return self._publisher.get_subscription_count()


class Latencies:
    """Seconds of the last KEPT requests, whole and by stage; a histogram of all since the node started."""

    KEPT = 100
    LIMITS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds, upper ends; one more bin has no end

    def __init__(self) -> None:
        self._whole: deque[float] = deque(maxlen=self.KEPT)
        self._stages: dict[str, deque[float]] = {}
        self._histogram = [0] * (len(self.LIMITS) + 1)
        self._lock = threading.Lock()

    def add(self, seconds: float, stages: dict[str, float]) -> None:
        with self._lock:
            self._whole.append(seconds)
            self._histogram[bisect_left(self.LIMITS, seconds)] += 1
            for stage, part in stages.items():
                self._stages.setdefault(stage, deque(maxlen=self.KEPT)).append(part)

    def values(self) -> dict[str, str]:
        """latency_median_s, latency_max_s, latency_STAGE_s (median / max), latency_histogram; empty before any."""
        with self._lock:
            whole, histogram = list(self._whole), list(self._histogram)
            stages = {stage: list(parts) for stage, parts in self._stages.items()}
        if not whole:
            return {"latency_median_s": "", "latency_max_s": "", "latency_histogram": ""}
        bins = [*(f"<={limit:g} s" for limit in self.LIMITS), f">{self.LIMITS[-1]:g} s"]
        return {
            "latency_median_s": f"{median(whole):.3f}",
            "latency_max_s": f"{max(whole):.3f}",
            **{f"latency_{stage}_s": f"{median(parts):.3f} / {max(parts):.3f}" for stage, parts in stages.items()},
            "latency_histogram": ", ".join(f"{name}: {n}" for name, n in zip(bins, histogram, strict=True) if n),
        }


class Throttle:
    """Passes the first message of a key at once and then at most one every `period` seconds, with a count."""

    def __init__(self, log: Callable[[str], object], period: float = 5.0) -> None:
        self._log = log
        self._period = period
        self._last: dict[str, float] = {}
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, key: str, message: str) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(key, -self._period) < self._period:
                self._held[key] += 1
                return
            self._last[key] = now
            held = self._held.pop(key, 0)
        self._log(f"{message} ({held} more like it since the last warning)" if held else message)


def diagnostic(name: str, hardware_id: str, level: bytes, message: str, values: dict[str, object]) -> DiagnosticStatus:
    """A DiagnosticStatus with `values` as strings."""
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, hardware_id=hardware_id, level=level, message=message, values=pairs)


def subscription_events(node: Node, topic: str, counters: TopicCounters) -> SubscriptionEventCallbacks:
    """The event callbacks of a subscription to `topic` (resolved).

    They count `dropped_by_dds` and `incompatible_qos`; the latter is logged.
    """

    def lost(event: Any) -> None:
        counters.add(topic, "dropped_by_dds", event.total_count_change)

    def incompatible(event: Any) -> None:
        counters.add(topic, "incompatible_qos", event.total_count_change)
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        node.get_logger().warning(f"'{topic}': nothing is received from a publisher whose QoS does not fit in {policy}")

    return SubscriptionEventCallbacks(message_lost=lost, incompatible_qos=incompatible)
