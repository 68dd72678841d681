# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From a camera with odometry to a Nav2 costmap: `ros2 launch gld_ros costmap.launch.py image:=... camera_info:=...`.

gld_node with a map, and a costmap of Nav2 with its lifecycle manager; nav2:=false where Nav2 has costmaps of its own.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory("gld_ros"))
ARGUMENTS = {  # name: (default, description)
    "config": (
        str(SHARE / "config" / "costmap.yaml"),
        "Parameters of gld_node, of the costmap and of its lifecycle manager.",
    ),
    "model": ("mini", "Name of a model on this machine or a model folder; it has to find the depth of key frames."),
    "image": ("image", "Image topic, or several with commas, of Image or CompressedImage."),
    "camera_info": ("camera_info", "CameraInfo topic of the same camera, or several with commas."),
    "use_sim_time": ("false", "Take the time from /clock, for simulators and bags."),
    "security_enclave": ("/", "SROS2 enclave of gld_node; used with ROS_SECURITY_ENABLE."),
    "nav2": ("true", "Start a costmap of its own (package nav2_costmap_2d) and its lifecycle manager."),
    "rviz": ("false", "Start RViz with config/gld.rviz."),
}


def generate_launch_description() -> LaunchDescription:
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    gld = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "gld.launch.py")),
        launch_arguments={name: value[name] for name in ARGUMENTS if name != "nav2"}.items(),
    )
    parameters = [value["config"], {"use_sim_time": ParameterValue(value["use_sim_time"], value_type=bool)}]
    nav2 = IfCondition(value["nav2"])
    costmap = Node(  # names itself /costmap/costmap
        package="nav2_costmap_2d",
        executable="nav2_costmap_2d",
        output="screen",
        parameters=parameters,
        condition=nav2,
    )
    manager = Node(
        package="nav2_lifecycle_manager",
        executable="lifecycle_manager",
        name="lifecycle_manager_costmap",
        output="screen",
        parameters=parameters,
        condition=nav2,
    )
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, gld, costmap, manager])
