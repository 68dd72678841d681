# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Costmaps in config/: names and types that Nav2 has, topics that the node has, and nothing generated that clears.

Nav2 is not on PyPI, so the names are those its sources declare (nav2_costmap_2d of Humble to Kilted).
"""

import ast
from pathlib import Path

import pytest
import rclpy
import yaml

from gld_ros.ros.interface.page import type_names
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.topics import PUBLISHED

ROOT = Path(__file__).parents[2]
FILE, STANDALONE = (ROOT / "config" / name for name in ("nav2_costmap.yaml", "costmap.yaml"))
LAUNCH = ROOT / "launch" / "costmap.launch.py"
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


def costmaps():
    """name -> parameters of every costmap."""
    whole = yaml.safe_load(FILE.read_text())
    assert set(whole) == {"local_costmap", "global_costmap"}
    alone = yaml.safe_load(STANDALONE.read_text())["/costmap/costmap"]["ros__parameters"]
    return {name: nested[name]["ros__parameters"] for name, nested in whole.items()} | {"costmap": alone}


@pytest.fixture(params=["local_costmap", "global_costmap", "costmap"])
def costmap(request):
    return costmaps()[request.param]


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


@pytest.mark.parametrize("name", ["local_costmap", "global_costmap", "costmap"])
def test_ros_reads_the_file(name):
    """rcl's own parser, which knows less YAML than Python's: no anchors."""
    context = rclpy.Context()
    file = STANDALONE if name == "costmap" else FILE
    rclpy.init(args=["--ros-args", "--params-file", str(file)], context=context)
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
    # Something does clear: the robot's sensor, or else the node's grid, which is sent anew, alone.
    assert any(source["clearing"] for _, source in sources(costmap)) or not list(sources(costmap))


def test_cells_fit(costmap):
    assert costmap["resolution"] == Parameters().map_voxel_size


def test_topics_exist_and_are_of_the_right_type():
    published = {name: type_names(topic)[0] for name, topic in PUBLISHED.items()}
    for costmap in costmaps().values():
        used = {s["topic"]: f"sensor_msgs/{s['data_type']}" for _, s in sources(costmap)}
        for layer in costmap["plugins"]:
            if "map_topic" in costmap[layer]:
                used[costmap[layer]["map_topic"]] = "nav_msgs/OccupancyGrid"
        mine = {topic.replace("/gld_node/", "~/"): kind for topic, kind in used.items() if "gld_node" in topic}
        assert mine and mine.items() <= published.items()


def test_the_launch_file_starts_the_costmap_of_its_parameters():
    """The launch library is not on PyPI: what the file says is read here, and run on a distribution (below)."""
    whole = yaml.safe_load(STANDALONE.read_text())
    node = whole["/**/gld_node"]["ros__parameters"]
    own = Parameters(**node)  # names that the node has, values that it takes
    assert own.map_enabled and own.map_frame == whole["/costmap/costmap"]["ros__parameters"]["global_frame"]
    defaults = Parameters()
    kept = {name: getattr(defaults, name) for name in node if name not in ("map_enabled", "map_frame")}
    assert kept == {name: node[name] for name in kept}
    manager = whole["lifecycle_manager_costmap"]["ros__parameters"]
    assert manager["node_names"] == ["costmap/costmap"] and manager["autostart"]
    tree = ast.parse(LAUNCH.read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "Node"]
    started = {k.value.value: call for call in calls for k in call.keywords if k.arg == "executable"}
    assert set(started) == {"nav2_costmap_2d", "lifecycle_manager"}
    (name,) = [k.value.value for k in started["lifecycle_manager"].keywords if k.arg == "name"]
    assert name in whole
    (table,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "ARGUMENTS"]
    gld = ast.parse((ROOT / "launch" / "gld.launch.py").read_text())
    (taken,) = [n.value for n in gld.body if isinstance(n, ast.Assign) and n.targets[0].id == "ARGUMENTS"]
    assert {key.value for key in table.keys} - {"nav2"} <= {key.value for key in taken.keys}


def test_the_launch_file_loads():
    launch = pytest.importorskip("launch.launch_context", reason="launch comes with a ROS distribution")
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    description = PythonLaunchDescriptionSource(str(LAUNCH)).get_launch_description(launch.LaunchContext())
    assert any(isinstance(entity, IncludeLaunchDescription) for entity in description.entities)
