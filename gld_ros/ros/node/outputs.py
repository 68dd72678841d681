# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `gld_node` publishes about views: images, cloud, frusta. Called from the worker's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sensor_msgs.msg import PointCloud2

from gld_ros.geometry.cameras import Camera
from gld_ros.msg import SynthesizedView
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.topics import IMAGES, publisher
from gld_ros.ros.node.view_messages import frusta_to_msg


class Outputs:
    """The publishers of views. Nothing is sent, and no picture copied, where nobody listens; frusta are latched."""

    def __init__(self, shared: Shared) -> None:
        self._counters = shared.counters
        names = ("views", *IMAGES, "camera_info", "points", "frusta")
        self._publishers = {name: publisher(shared.node, f"~/{name}") for name in names}
        self._frusta: dict[str, Sequence[Camera]] = {"sources": (), "requests": ()}
        for each in self._publishers.values():
            self._counters.add(each.topic_name, "published", 0)

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
        to = self._publishers[name]
        if latched or to.get_subscription_count():
            to.publish(msg)
            self._counters.add(to.topic_name, "published")
