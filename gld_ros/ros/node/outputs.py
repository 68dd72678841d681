# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of synthesized views, by request or in continuous mode: messages, and a place in the map."""

from __future__ import annotations

from collections.abc import Sequence

from sensor_msgs.msg import PointCloud2

from gld_ros.geometry.cameras import Camera
from gld_ros.msg import SynthesizedView
from gld_ros.ros.node.map_outputs import MapOutputs
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.topics import IMAGES
from gld_ros.ros.node.view_messages import cloud_to_msg, frusta_to_msg, view_to_msg
from gld_ros.views import View


class Outputs:
    """The publishers of views. Nothing is sent, and no picture copied, where nobody listens; cloud and frusta are
    latched. From any thread."""

    def __init__(self, shared: Shared, maps: MapOutputs) -> None:
        self._shared, self._maps = shared, maps
        names = ("views", *IMAGES, "camera_info", "points", "frusta")
        self._publishers = {name: shared.publisher(f"~/{name}") for name in names}
        self._frusta: dict[str, Sequence[Camera]] = {"sources": (), "requests": ()}
        self._answered = (0, 0)  # jumps until then, stamp (ns) of the newest answer with views

    def view(self, view: View, stamp: int, coverage: float) -> SynthesizedView:
        """Publish one view, whole and in parts, and hand it to the map. Returns its message. stamp: ns; coverage: of
        the depth bounds."""
        self._maps.add_view(view)
        p = self._shared.parameters
        msg = view_to_msg(view, stamp, p.map_frame, p.view_frame, coverage)
        parts = {"views": msg, **{name: getattr(msg, name) for name in (*IMAGES, "camera_info")}}
        for name, part in parts.items():
            if self._publishers[name].listeners:
                self._publishers[name].publish(part)
        return msg

    def cloud(self, views: Sequence[View], stamp: int) -> PointCloud2:
        """The points of all `views`, as the parameters want them; stamp: ns."""
        p = self._shared.parameters
        for view in views:
            self._shared.warn_of_float32(view.camera.center)
        return cloud_to_msg(views, stamp, p.map_frame, p.cloud_stride, p.cloud_min_confidence)

    def finished(self, views: Sequence[View], cloud: PointCloud2, stamp: int) -> None:
        """Publish what shows `views` together: their cloud, and the frusta of their cameras; stamp: ns. Nothing is
        published where there are none."""
        if not views:
            return
        self._publishers["points"].publish(cloud)
        self.frusta("requests", [view.camera for view in views], stamp)

    def frusta(self, group: str, cameras: Sequence[Camera], stamp: int) -> None:
        """Replace the frusta of `group`, "sources" or "requests"; nothing is sent where they are the same."""
        if [id(camera) for camera in cameras] == [id(camera) for camera in self._frusta[group]]:
            return
        p = self._shared.parameters
        self._frusta = {**self._frusta, group: cameras}
        self._publishers["frusta"].publish(frusta_to_msg(self._frusta, stamp, p.map_frame, p.frustum_length))

    def answered(self, stamp: int) -> None:
        """A request was answered with views of that stamp (ns)."""
        self._answered = self._shared.key_frames.jumps, stamp

    def newer(self, stamp: int) -> bool:
        """True if the newest answer with views is older than `stamp` (ns), or than a jump of time or the map frame."""
        jumps, answered = self._answered
        return jumps != self._shared.key_frames.jumps or stamp > answered
