# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Records every topic of the ROS graph into a rosbag2, without rosbag2: serialized messages as they arrive."""

from __future__ import annotations

import importlib
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from gld_ros.data.bag_writer import BagWriter

DISCOVERY_PERIOD = 0.2  # seconds between two looks for new topics
NOT_RECORDED = ("/rosout", "/parameter_events")
DEPTH = 100


class Recorder:
    """Subscribes to every topic that appears, with the QoS its publishers offer, until `close`.

    counts: messages received per topic; subscribed: the topics. Hidden topics, logs and parameter events are left out.
    """

    def __init__(self, node: Node, path: str | Path, storage: str = "mcap") -> None:
        self._node = node
        self._types = get_typestore(Stores.ROS2_JAZZY)
        self._writer = BagWriter(path, storage, self._types)
        self._lock = threading.Lock()
        self._closed = False
        self._group = MutuallyExclusiveCallbackGroup()
        self._subscriptions: dict[str, Any] = {}
        self.counts: Counter[str] = Counter()
        self._timer = node.create_timer(DISCOVERY_PERIOD, self._discover, callback_group=self._group)

    @property
    def subscribed(self) -> set[str]:
        return set(self._subscriptions)

    def close(self) -> None:
        """Stop recording and finish the bag."""
        self._node.destroy_timer(self._timer)
        with self._lock:
            self._closed = True
            self._writer.close()

    def _discover(self) -> None:
        for topic, type_names in self._node.get_topic_names_and_types():
            publishers = self._node.get_publishers_info_by_topic(topic)
            if topic in self._subscriptions or topic in NOT_RECORDED or "/_" in topic or not publishers:
                continue
            latched = all(p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers)
            reliable = all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers)
            qos = QoSProfile(
                depth=DEPTH,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
                reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            )
            package, _, name = type_names[0].split("/")
            register_type(self._types, type_names[0])
            message_type = getattr(importlib.import_module(f"{package}.msg"), name)
            self._subscriptions[topic] = self._node.create_subscription(
                message_type,
                topic,
                partial(self._write, topic, type_names[0], latched),
                qos,
                callback_group=self._group,
                raw=True,
            )

    def _write(self, topic: str, type_name: str, latched: bool, data: bytes) -> None:
        with self._lock:
            if not self._closed:
                self.counts[topic] += 1
                self._writer.write_serialized(topic, type_name, self._node.get_clock().now().nanoseconds, data, latched)


def register_type(types: Typestore, name: str) -> None:
    """Give `types` the message type `name` ("package/msg/Name") from its package's share folder, if it lacks it."""
    if name not in types.fielddefs:
        package, _, message = name.split("/")
        file = Path(get_package_share_directory(package)) / "msg" / f"{message}.msg"
        types.register(get_types_from_msg(file.read_text(), name))
