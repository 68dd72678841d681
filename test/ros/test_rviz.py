# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""config/gld.rviz: every topic in it is one of the node, of the type the display takes, with a QoS that fits.

RViz is not on PyPI, so the types are those its sources (rviz_default_plugins of Jazzy) subscribe to.
"""

from pathlib import Path

import pytest
import yaml

from gld_ros.ros.interface.graph import interfaces_of
from gld_ros.ros.node.node import GLDNode

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "config" / "gld.rviz").read_text())["Visualization Manager"]
TYPES = {
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
    "Image": "sensor_msgs/msg/Image",
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Map": "nav_msgs/msg/OccupancyGrid",
    "Map updates": "map_msgs/msg/OccupancyGridUpdate",
    "SetGoal": "geometry_msgs/msg/PoseStamped",
}
DISPLAYED = ("frusta", "points", "map/observed", "map/generated", "map/occupancy", "map/occupancy_updates", "image",
             "depth", "generated")  # fmt: skip


def topics(items):
    """(kind of display, its topic with QoS) of all that have one, but for the camera's own image."""
    for item in items:
        kind = item["Class"].removeprefix("rviz_default_plugins/")
        for key, name in (("Topic", kind), ("Update Topic", f"{kind} updates")):
            if key in item and item[key]["Value"] != "image":
                yield name, item[key]


@pytest.fixture(scope="module")
def interfaces():
    """Of a node of this process, which its own graph knows at once."""
    node = GLDNode()
    yield interfaces_of(node, "gld_node")
    node.close()
    node.destroy_node()


def test_displays_take_what_the_node_publishes(interfaces):
    published = {endpoint.name: endpoint for endpoint in interfaces.publishes}
    shown = list(topics(CONFIG["Displays"]))
    assert sorted(topic["Value"] for _, topic in shown) == sorted(f"gld_node/{name}" for name in DISPLAYED)
    for kind, topic in shown:
        endpoint = published[topic["Value"].replace("gld_node/", "~/")]
        assert endpoint.type == TYPES[kind]
        assert topic["Reliability Policy"] == "Reliable" and endpoint.qos.startswith("reliable")
        latched = topic["Durability Policy"] == "Transient Local"
        assert latched == endpoint.qos.endswith("latched"), topic["Value"]


def test_tools_send_what_the_node_takes(interfaces):
    ((kind, topic),) = topics(CONFIG["Tools"])
    taken = {endpoint.name: endpoint.type for endpoint in interfaces.subscribes}
    assert taken[topic["Value"].replace("gld_node/", "~/")] == TYPES[kind]


def test_layers_of_the_map_can_be_told_apart():
    observed, generated = (
        next(item for item in CONFIG["Displays"] if item.get("Topic", {}).get("Value") == f"gld_node/map/{layer}")
        for layer in ("observed", "generated")
    )
    assert observed["Color Transformer"] == "RGB8" and observed.get("Alpha", 1) == 1
    assert generated["Color Transformer"] == "FlatColor" and generated["Alpha"] < 1
    assert observed["Style"] != generated["Style"]
