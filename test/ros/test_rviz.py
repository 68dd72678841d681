# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""config/gld.rviz and foxglove.json: every topic in them is there, of the type the display takes, with a QoS that fits.

RViz is not on PyPI, so the types are those its sources (rviz_default_plugins of Jazzy) subscribe to.
"""

import json
import re
from pathlib import Path

import yaml

from gld_ros.ros.interface.page import qos_in_words, type_names
from gld_ros.ros.node.topics import PUBLISHED, SUBSCRIBED

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "config" / "gld.rviz").read_text())["Visualization Manager"]
TYPES = {
    "PointCloud2": "sensor_msgs/PointCloud2",
    "Image": "sensor_msgs/Image",
    "MarkerArray": "visualization_msgs/MarkerArray",
    "Map": "nav_msgs/OccupancyGrid",
    "Map updates": "map_msgs/OccupancyGridUpdate",
    "SetGoal": "geometry_msgs/PoseStamped",
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


def test_displays_take_what_the_node_publishes():
    shown = list(topics(CONFIG["Displays"]))
    assert sorted(topic["Value"] for _, topic in shown) == sorted(f"gld_node/{name}" for name in DISPLAYED)
    for kind, topic in shown:
        endpoint = PUBLISHED[topic["Value"].replace("gld_node/", "~/")]
        assert type_names(endpoint) == [TYPES[kind]]
        assert topic["Reliability Policy"] == "Reliable" and qos_in_words(endpoint.qos).startswith("reliable")
        latched = topic["Durability Policy"] == "Transient Local"
        assert latched == qos_in_words(endpoint.qos).endswith("latched"), topic["Value"]


def test_tools_send_what_the_node_takes():
    ((kind, topic),) = topics(CONFIG["Tools"])
    assert type_names(SUBSCRIBED[topic["Value"].replace("gld_node/", "~/")]) == [TYPES[kind]]


def test_layers_of_the_map_can_be_told_apart():
    observed, generated = (
        next(item for item in CONFIG["Displays"] if item.get("Topic", {}).get("Value") == f"gld_node/map/{layer}")
        for layer in ("observed", "generated")
    )
    assert observed["Color Transformer"] == "RGB8" and observed.get("Alpha", 1) == 1
    assert generated["Color Transformer"] == "FlatColor" and generated["Alpha"] < 1
    assert observed["Style"] != generated["Style"]


def test_panels_of_foxglove_show_what_the_node_and_runs_have():
    layout = json.loads((Path(__file__).parents[2] / "config" / "foxglove.json").read_text())
    panels = layout["configById"]
    run, robot = (json.dumps(tab["layout"]) for tab in panels[layout["layout"]]["tabs"])
    shown = re.findall(r'"((?:3D|Image)!\w+)"', run + robot)
    assert sorted(shown) == sorted(set(panels) - {layout["layout"]})  # each panel once
    topics = {}
    for name in shown:
        images = panels[name].get("imageMode", {})
        used = [images[key] for key in ("imageTopic", "calibrationTopic") if key in images]
        topics[name] = {*used, *panels[name].get("topics", {})}
    node = {topic.replace("~", "/gld_node") for topic in PUBLISHED}
    pictures = [f"/{name}/{part}" for name in ("source_00", "source_01", "view_00", "view_01")
                for part in ("image_raw", "camera_info", "depth/image_raw")]  # fmt: skip
    for name, used in topics.items():
        assert used and used <= (set(pictures) | {"/points"} if name in run else node), name
