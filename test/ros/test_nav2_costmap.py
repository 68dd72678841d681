# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""config/nav2_costmap.yaml: names and types that Nav2 has, topics that the node has, and nothing generated that clears.

Nav2 is not on PyPI, so the names are those its sources declare (nav2_costmap_2d of Humble to Kilted).
"""

from pathlib import Path

import pytest
import rclpy
import yaml

from gld_ros.ros.interface.page import type_names
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.topics import PUBLISHED

FILE = Path(__file__).parents[2] / "config" / "nav2_costmap.yaml"
COSTMAP = {
    **dict.fromkeys(["global_frame", "robot_base_frame"], str),
    **dict.fromkeys(["update_frequency", "publish_frequency", "resolution", "robot_radius"], float),
    **dict.fromkeys(["width", "height", "lethal_cost_threshold"], int),
    **dict.fromkeys(["rolling_window", "track_unknown_space", "use_maximum", "trinary_costmap"], bool),
    "plugins": list,
}
OBSTACLES = {
    **dict.fromkeys(["enabled", "footprint_clearing_enabled"], bool),
    **dict.fromkeys(["min_obstacle_height", "max_obstacle_height"], float),
    "combination_method": int,
    "observation_sources": str,
}
SOURCE = {
    **dict.fromkeys(["topic", "sensor_frame", "data_type"], str),
    **dict.fromkeys(["marking", "clearing", "inf_is_valid"], bool),
    **dict.fromkeys(["observation_persistence", "expected_update_rate"], float),
    **dict.fromkeys([f"{end}_obstacle_height" for end in ("min", "max")], float),
    **dict.fromkeys([f"{kind}_{end}_range" for kind in ("obstacle", "raytrace") for end in ("min", "max")], float),
}
LAYERS = {
    "nav2_costmap_2d::ObstacleLayer": OBSTACLES,
    "nav2_costmap_2d::VoxelLayer": {
        **OBSTACLES,
        **dict.fromkeys(["z_voxels", "unknown_threshold", "mark_threshold"], int),
        **dict.fromkeys(["origin_z", "z_resolution"], float),
        "publish_voxel_map": bool,
    },
    "nav2_costmap_2d::StaticLayer": {
        **dict.fromkeys(["enabled", "subscribe_to_updates", "map_subscribe_transient_local"], bool),
        "footprint_clearing_enabled": bool,
        "transform_tolerance": float,
        "map_topic": str,
    },
    "nav2_costmap_2d::InflationLayer": {
        **dict.fromkeys(["enabled", "inflate_unknown", "inflate_around_unknown"], bool),
        **dict.fromkeys(["inflation_radius", "cost_scaling_factor"], float),
    },
}


@pytest.fixture(params=["local_costmap", "global_costmap"])
def costmap(request):
    whole = yaml.safe_load(FILE.read_text())
    assert set(whole) == {"local_costmap", "global_costmap"}
    return whole[request.param][request.param]["ros__parameters"]


def sources(costmap):
    """(name, settings) of every observation source."""
    for name in costmap["plugins"]:
        for source in costmap[name].get("observation_sources", "").split():
            yield source, costmap[name][source]


def check(values, known, nested=()):
    for name, value in values.items():
        if name not in nested:
            assert name in known, name
            assert type(value) is known[name], f"{name}: {value!r}"


def test_names_and_types_are_nav2s(costmap):
    check(costmap, COSTMAP, costmap["plugins"])
    for name in costmap["plugins"]:
        layer = dict(costmap[name])
        found = layer.get("observation_sources", "").split()
        check(layer, {**LAYERS[layer["plugin"]], "plugin": str}, found)
        assert all(source in layer for source in found)
    for _, source in sources(costmap):
        check(source, SOURCE)
        assert source["data_type"] in ("PointCloud2", "LaserScan")


@pytest.mark.parametrize("name", ["local_costmap", "global_costmap"])
def test_ros_reads_the_file(name):
    """rcl's own parser, which knows less YAML than Python's: no anchors."""
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "--params-file", str(FILE)], context=context)
    try:
        node = rclpy.create_node(
            name, namespace=name, context=context, automatically_declare_parameters_from_overrides=True
        )
        assert node.get_parameter("gld_layer.map_topic").value == "/gld_node/map/occupancy"
        assert node.get_parameter("use_maximum").value is True
        node.destroy_node()
    finally:
        context.shutdown()


def test_generated_data_only_adds(costmap):
    gld = [costmap[name] for name in costmap["plugins"] if "gld_node" in costmap[name].get("map_topic", "")]
    (layer,) = gld
    assert layer["plugin"] == "nav2_costmap_2d::StaticLayer" and layer["map_subscribe_transient_local"]
    assert not layer["footprint_clearing_enabled"]
    assert costmap["use_maximum"]  # at the costmap: StaticLayer reads it there
    assert not costmap["trinary_costmap"] and costmap["lethal_cost_threshold"] == 100
    assert not (costmap["rolling_window"] and costmap["track_unknown_space"])
    for name in costmap["plugins"]:
        assert costmap[name].get("combination_method", 1) == 1
    for name, source in sources(costmap):
        assert "generated" not in source["topic"]
        if "gld_node" in source["topic"]:
            assert source["marking"] and not source["clearing"], name
    assert any(source["clearing"] for _, source in sources(costmap))  # something does: the robot's sensor


def test_cells_fit(costmap):
    assert costmap["resolution"] == Parameters().map_voxel_size


def test_topics_exist_and_are_of_the_right_type():
    published = {name: type_names(topic)[0] for name, topic in PUBLISHED.items()}
    for name in ("local_costmap", "global_costmap"):
        costmap = yaml.safe_load(FILE.read_text())[name][name]["ros__parameters"]
        used = {s["topic"]: f"sensor_msgs/{s['data_type']}" for _, s in sources(costmap)}
        for layer in costmap["plugins"]:
            if "map_topic" in costmap[layer]:
                used[costmap[layer]["map_topic"]] = "nav_msgs/OccupancyGrid"
        mine = {topic.replace("/gld_node/", "~/"): kind for topic, kind in used.items() if "gld_node" in topic}
        assert mine and mine.items() <= published.items()
