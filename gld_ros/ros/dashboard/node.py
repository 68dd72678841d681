# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld_dashboard`: shows on a web page what a `gld_node` sees, makes and says of itself. It commands nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from cv_bridge import CvBridge
from diagnostic_msgs.msg import DiagnosticArray
from map_msgs.msg import OccupancyGridUpdate
from nav_msgs.msg import OccupancyGrid
from rclpy.clock import Clock, ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from sensor_msgs_py import point_cloud2
from visualization_msgs.msg import Marker, MarkerArray

from gld_ros.errors import InvalidRequest
from gld_ros.msg import SynthesizedView
from gld_ros.ros.conversions import image_from_msg, stamp_to_ns
from gld_ros.ros.dashboard.health import SILENCE, Status, read_health
from gld_ros.ros.dashboard.page import Page
from gld_ros.ros.dashboard.scene import Cloud, Frusta
from gld_ros.ros.declarations import BEST_EFFORT, LATCHED, RELIABLE, Endpoint, Table, declare, fixed
from gld_ros.ros.node.counters import Throttle
from gld_ros.ros.node.map_topics import grid_from_msg, patch_grid
from gld_ros.ros.node.topics import NEWEST, PUBLISHED
from gld_ros.ros.signals import run
from gld_ros.scene.map.voxel_map import LAYERS

RCLError = rclpy_implementation.RCLError
LOOK_PERIOD = 0.5  # seconds between two looks at visitors and at the node's cameras
STOP_TIMEOUT = 5.0

_bridge = CvBridge()


@dataclass(frozen=True)
class Parameters:
    node: str = fixed("gld_node", "the gld_node that is shown, with its namespace")
    host: str = fixed("127.0.0.1", "address that the page is served at; 0.0.0.0 lets everybody in")
    port: int = fixed(8080, "port of the page; 0 takes a free one", (0, 65535))
    rate: float = fixed(5.0, "updates of the page a second, at most", (0.1, 5.0))
    max_points: int = fixed(200_000, "points shown of each cloud, at most", (1, 10_000_000))
    silence: float = fixed(SILENCE, "without diagnostics for so long the node is ill, s", (0.1, 3600.0))


MEANINGS = {  # of the node's topics that are shown while somebody has the page open
    "~/views": "Views: RGB, depth, mask.",
    "~/points": "The cloud.",
    "~/frusta": "Key frames and requests.",
    "~/map/observed": "Observed layer of the map.",
    "~/map/generated": "Generated layer of the map.",
    "~/map/occupancy": "Grid of the map.",
    "~/map/occupancy_updates": "Changes of the grid.",
}
IMAGES = Endpoint((Image, CompressedImage), "Pictures of the cameras that the node listens to.", BEST_EFFORT)
DIAGNOSTICS = Endpoint(DiagnosticArray, "Health of the node; subscribed even if nobody has the page open.")
SHOWN = {
    name: Endpoint(PUBLISHED[name].type, meaning, NEWEST if PUBLISHED[name].qos is RELIABLE else LATCHED)
    for name, meaning in MEANINGS.items()
}
INTERFACE: Table = {
    "subscribes": {
        "image": IMAGES,
        **{name.replace("~", "gld_node"): topic for name, topic in SHOWN.items()},
        "/diagnostics": DIAGNOSTICS,
    }
}


class DashboardNode(Node):
    """Shows one `gld_node`. Callbacks keep the newest message of a topic, as it came; a thread shows it.

    While nobody has the page open, only diagnostics are subscribed to. Raises InvalidRequest as `Page` does, and where
    the parameter `node` is no name.
    """

    error = None  # nothing ends it but a signal

    def __init__(self, **options: Any) -> None:
        """options: of `rclpy.node.Node`, such as cli_args."""
        super().__init__("gld_dashboard", **options)
        p = declare(self, Parameters)
        self._period, self._silence = 1 / p.rate, p.silence
        try:
            self._target = self.resolve_topic_name(p.node)
        except RCLError as error:
            raise InvalidRequest(
                f"parameter node is '{p.node}', expected a name like /robot/gld_node: {error}"
            ) from None
        self._warn = Throttle(self.get_logger().warning)
        self._newest: dict[str, bytes] = {}  # by topic, taken by the thread that shows
        self._shown: dict[str, tuple[type, Callable[[Any], None]]] = {}  # by topic: its type, and what shows a message
        self._grid: tuple[int, Any] | None = None  # the map's: its stamp, and its cells with all updates
        self._statuses: list[Status] = []
        self._heard: float | None = None  # when the node's diagnostics came last
        self._while_watched: dict[str, Subscription] = {}
        self.page = Page(self._target, p.host, p.port, p.max_points)
        self.create_subscription(DIAGNOSTICS.type, "/diagnostics", self._on_diagnostics, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # it has to run while a simulated clock stands still
        self.create_timer(LOOK_PERIOD, lambda: self.watch(self.page.visitors > 0), clock=steady)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        self.get_logger().info(f"dashboard of '{self._target}': {self.page.url}")

    def watch(self, watched: bool) -> None:
        """Subscribe while somebody looks, and to the cameras that the node listens to now."""
        wanted = self._topics() if watched else {}
        if not watched:
            self._grid = None  # it misses updates from now on
        for topic in self._while_watched.keys() - wanted.keys():
            self.destroy_subscription(self._while_watched.pop(topic))
            self._newest.pop(topic, None)
        for topic in wanted.keys() - self._while_watched.keys():
            kind, qos, show = wanted[topic]
            self._shown[topic] = kind, show
            keep = partial(self._newest.__setitem__, topic)
            self._while_watched[topic] = self.create_subscription(kind, topic, keep, qos, raw=True)

    def close(self) -> None:
        """End the thread and the page."""
        self._stop.set()
        self._thread.join(STOP_TIMEOUT)
        self.page.close()

    # ---- callbacks

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        """Several nodes publish these."""
        own = [s for s in msg.status if s.name.startswith(f"{self._target}: ")]
        if own:
            self._heard = time.monotonic()
            self._statuses = [
                Status(s.name, ord(s.level), s.message, {item.key: item.value for item in s.values}) for s in own
            ]

    def _topics(self) -> dict[str, tuple[type, QoSProfile, Callable[[Any], None]]]:
        """The topics that are shown now: the type and QoS of each topic, and what shows a message."""
        show: dict[str, Callable[[Any], None]] = {
            "~/views": self._show_view,
            "~/points": self._show_points,
            "~/frusta": self._show_frusta,
            "~/map/occupancy": self._show_grid,
            "~/map/occupancy_updates": self._show_update,
            **{f"~/map/{layer}": partial(self._show_layer, layer) for layer in LAYERS},
        }
        topics = {name.replace("~", self._target): (t.type, t.qos, show[name]) for name, t in SHOWN.items()}
        namespace, _, name = self._target.rpartition("/")
        try:
            heard = self.get_subscriber_names_and_types_by_node(name, namespace or "/")
        except NodeNameNonExistentError:
            return topics
        types = {f"sensor_msgs/msg/{kind.__name__}": kind for kind in IMAGES.type}
        for topic, (kind, *_) in heard:
            if kind in types:
                topics[topic] = types[kind], IMAGES.qos, partial(self._show_camera, topic)
        return topics

    # ---- the thread that shows

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            for topic in list(self._newest):
                data = self._newest.pop(topic, None)
                if data is not None:
                    self._try(topic, self._show, topic, data)
            self._try("/diagnostics", self._show_health)

    def _try(self, topic: str, show: Callable[..., None], *args: Any) -> None:
        """No message, whatever is in it, ends the page."""
        try:
            show(*args)
        except Exception as error:
            self._warn(topic, f"'{topic}' cannot be shown: {type(error).__name__}: {error}")

    def _show(self, topic: str, data: bytes) -> None:
        kind, show = self._shown[topic]
        show(deserialize_message(data, kind))

    def _show_health(self) -> None:
        age = None if self._heard is None else time.monotonic() - self._heard
        self.page.health(read_health(self._target, self._statuses, age, self._silence))
        self.page.age_pictures()

    def _show_camera(self, topic: str, msg: Image | CompressedImage) -> None:
        self.page.camera(topic, image_from_msg(msg, topic))

    def _show_view(self, msg: SynthesizedView) -> None:
        title = f"by {msg.model}, seed {msg.seed}"
        depth = _bridge.imgmsg_to_cv2(msg.depth, "32FC1")
        generated = _bridge.imgmsg_to_cv2(msg.generated, "mono8") > 0
        self.page.view(title, image_from_msg(msg.image, "image"), depth, generated)

    def _show_points(self, msg: PointCloud2) -> None:
        self.page.scene.cloud(_cloud(msg))

    def _show_layer(self, layer: str, msg: PointCloud2) -> None:
        self.page.scene.map_layer(layer == "generated", _cloud(msg))

    def _show_grid(self, msg: OccupancyGrid) -> None:
        self._grid = stamp_to_ns(msg.header.stamp), grid_from_msg(msg)
        self.page.scene.map_grid(self._grid[1])

    def _show_update(self, msg: OccupancyGridUpdate) -> None:
        """The newest is enough: it holds all that changed since the grid. One of an earlier grid says nothing."""
        if self._grid is not None and stamp_to_ns(msg.header.stamp) >= self._grid[0]:
            self._grid = self._grid[0], patch_grid(self._grid[1], msg)
            self.page.scene.map_grid(self._grid[1])

    def _show_frusta(self, msg: MarkerArray) -> None:
        self.page.scene.frusta([_frusta(marker) for marker in msg.markers if marker.action != Marker.DELETEALL])


def _cloud(msg: PointCloud2) -> Cloud:
    """The cloud of a message on ~/points."""
    points = point_cloud2.read_points(msg)
    xyz = np.stack([points["x"], points["y"], points["z"]], axis=-1)
    bgr = np.ascontiguousarray(points["rgb"]).view(np.uint8).reshape(-1, 4)[:, :3]
    return Cloud(xyz, bgr[:, ::-1], points["generated"] > 0)


def _frusta(marker: Marker) -> Frusta:
    """The frusta of a line list."""
    ends = np.array([(point.x, point.y, point.z) for point in marker.points]).reshape(-1, 2, 3)
    colour = tuple(round(255 * part) for part in (marker.color.r, marker.color.g, marker.color.b))
    return Frusta(marker.ns, ends, colour)  # type: ignore[arg-type]


def main(args: list[str] | None = None) -> int:
    """Serve the page until SIGINT or SIGTERM; returns the exit code. What cannot be is one line on stderr."""
    return run("gld_dashboard", DashboardNode, args)


if __name__ == "__main__":
    sys.exit(main())
