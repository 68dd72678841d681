# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `gld_node` publishes about views: images, cloud, frusta. Called from the worker's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from gld_ros.geometry.cameras import Camera
from gld_ros.msg import SynthesizedView
from gld_ros.ros.node.counters import NO_EVENTS
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.view_messages import frusta_to_msg

RELIABLE = QoSProfile(depth=10)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
IMAGES = ("image", "depth", "confidence", "generated")


class Outputs:
    """The publishers of views. Nothing is sent, and no picture copied, where nobody listens; frusta are latched."""

    def __init__(self, shared: Shared) -> None:
        self._counters = shared.counters
        kinds = {
            **dict.fromkeys(IMAGES, (Image, RELIABLE)),
            "camera_info": (CameraInfo, RELIABLE),
            "views": (SynthesizedView, RELIABLE),
            "points": (PointCloud2, LATCHED),
            "frusta": (MarkerArray, LATCHED),
        }
        self._publishers = {
            name: shared.node.create_publisher(kind, f"~/{name}", qos, event_callbacks=NO_EVENTS)
            for name, (kind, qos) in kinds.items()
        }
        self._frusta: dict[str, Sequence[Camera]] = {"sources": (), "requests": ()}
        for publisher in self._publishers.values():
            self._counters.add(publisher.topic_name, "published", 0)

    def view(self, msg: SynthesizedView) -> None:
        """Publish one view, whole and in parts."""
        self._send("views", msg)
        for name in (*IMAGES, "camera_info"):
            self._send(name, getattr(msg, name))

    def points(self, cloud: PointCloud2) -> None:
        self._send("points", cloud, latched=True)

    def frusta(self, group: str, cameras: Sequence[Camera], stamp: int, map_frame: str, length: float) -> None:
        """Replace the frusta of `group`, "sources" or "requests"; nothing is sent where they are the same."""
        if [id(camera) for camera in cameras] == [id(camera) for camera in self._frusta[group]]:
            return
        self._frusta = {**self._frusta, group: cameras}
        self._send("frusta", frusta_to_msg(self._frusta, stamp, map_frame, length), latched=True)

    def _send(self, name: str, msg: Any, latched: bool = False) -> None:
        publisher = self._publishers[name]
        if latched or publisher.get_subscription_count():
            publisher.publish(msg)
            self._counters.add(publisher.topic_name, "published")
