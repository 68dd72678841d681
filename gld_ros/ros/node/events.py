# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the middleware tells of topics: lost messages and publishers that do not fit. Counted per topic, and logged."""

from __future__ import annotations

from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind

from gld_ros.ros.node.counters import TopicCounters

# rclpy looks at every event of every publisher whenever any message arrives. A subscriber whose QoS does not fit learns
# it on its own side.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)


def subscription_events(node: Node, topic: str, counters: TopicCounters) -> SubscriptionEventCallbacks:
    """Of a subscription to `topic` (resolved): counts `dropped_by_dds` and `incompatible_qos`, which is logged."""

    def lost(event: Any) -> None:
        counters.add(topic, "dropped_by_dds", event.total_count_change)

    def incompatible(event: Any) -> None:
        counters.add(topic, "incompatible_qos", event.total_count_change)
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        node.get_logger().warning(f"'{topic}': nothing is received from a publisher whose QoS does not fit in {policy}")

    return SubscriptionEventCallbacks(message_lost=lost, incompatible_qos=incompatible)
