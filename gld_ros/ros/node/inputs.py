# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of `gld_node` whose type and durability are those that are published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gld_ros.ros.conversions import ros_name
from gld_ros.ros.node.health import Health
from gld_ros.ros.node.shared import Shared

PERIOD = 1.0  # seconds between two looks at what is published
COMPRESSED_ENDINGS = ("/compressed", "/compressedDepth")


@dataclass
class _Input:
    topic: str
    type: type
    latched: bool
    callback: Callable[[Any], None]
    subscription: Any = None


class Inputs:
    """Best-effort subscriptions. Image or CompressedImage is what the publishers of a topic offer, or what its name
    says while there are none. CameraInfo that all publishers latch is taken latched: it may have been sent once."""

    def __init__(self, shared: Shared, health: Health) -> None:
        self._shared, self._health = shared, health
        self._inputs: list[_Input] = []
        self._timer = shared.timer(PERIOD, self._follow)

    def listen(self, kind: type, topic: str, callback: Callable[[Any], None]) -> None:
        """Call back with the messages of a topic (resolved)."""
        if kind is Image and topic.endswith(COMPRESSED_ENDINGS):
            kind = CompressedImage
        item = _Input(topic, kind, False, callback)
        item.type, item.latched = self._offered(item)
        self._inputs.append(item)
        self._subscribe(item)

    def latched(self, topic: str) -> bool:
        """True if a topic is taken latched."""
        return any(item.latched for item in self._inputs if item.topic == topic)

    def stop(self) -> None:
        """Listen no more."""
        self._shared.node.destroy_timer(self._timer)
        for item in self._inputs:
            self._shared.node.destroy_subscription(item.subscription)
        self._health.forget_inputs()

    def _offered(self, item: _Input) -> tuple[type, bool]:
        """Type and durability that the publishers offer; the present ones where there are none, or both kinds."""
        publishers = self._shared.node.get_publishers_info_by_topic(item.topic)
        types = {publisher.topic_type for publisher in publishers}
        offered = [kind for kind in (Image, CompressedImage) if ros_name(kind) in types]
        kind = offered[0] if len(offered) == 1 and item.type in (Image, CompressedImage) else item.type
        if item.type is not CameraInfo or not publishers:
            return kind, item.latched
        qos = [publisher.qos_profile for publisher in publishers]
        return kind, all(
            (each.durability, each.reliability) == (DurabilityPolicy.TRANSIENT_LOCAL, ReliabilityPolicy.RELIABLE)
            for each in qos
        )

    def _subscribe(self, item: _Input) -> None:
        qos = QoSProfile(depth=self._shared.parameters.queue_depth, reliability=ReliabilityPolicy.BEST_EFFORT)
        if item.latched:
            qos.durability, qos.reliability = DurabilityPolicy.TRANSIENT_LOCAL, ReliabilityPolicy.RELIABLE
        self._health.listen(item.topic, once=item.latched)
        item.subscription = self._shared.subscribe(item.type, item.topic, item.callback, qos)

    def _follow(self) -> None:
        """Publishers that came later may offer something else."""
        for item in self._inputs:
            if (offered := self._offered(item)) != (item.type, item.latched):
                self._shared.node.destroy_subscription(item.subscription)
                item.type, item.latched = offered
                self._subscribe(item)
                how = "latched, " if item.latched else ""
                self._shared.log.info(f"'{item.topic}' is taken as {ros_name(item.type)}, {how}as it is published")
