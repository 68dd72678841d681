# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Simulated robot or recorded sequence, gld_node and RViz: `ros2 launch gld_ros demo.launch.py [sequence:=PATH]`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetEnvironmentVariable
from launch.conditions import IfCondition, UnlessCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory("gld_ros"))
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Jazzy; Kilted and later
ARGUMENTS = {  # name: (default, description)
    "sequence": (
        "",
        "Folder with transforms.json or a rosbag2, with a camera named `camera`; empty: a simulated robot.",
    ),
    "seed": ("0", "Which room the simulated robot drives through."),
    "rate": ("5.0", "Images a second."),
    "loop": ("true", "Start again at the end."),
    "model": ("mini", "Name of a model on this machine (mini, gld-da3, gld-vggt, a Hub id) or a model folder."),
    "security_enclave": ("/", "SROS2 enclave of gld_node, such as /gld_ros/gld_node; used with ROS_SECURITY_ENABLE."),
    "camera_enclave": ("/", "SROS2 enclave of the camera, such as /gld_ros/gld_sim_camera."),
    "rviz": ("true", "Start RViz; its goal tool asks for a view."),
}


def generate_launch_description() -> LaunchDescription:
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    recorded = IfCondition(PythonExpression(["'", value["sequence"], "' != ''"]))
    simulated = UnlessCondition(PythonExpression(["'", value["sequence"], "' != ''"]))
    playing = {
        "rate": ParameterValue(value["rate"], value_type=float),
        "loop": ParameterValue(value["loop"], value_type=bool),
        "wait_for_subscribers": 1,
    }
    replay = Node(
        package="gld_ros",
        executable="gld_replay",
        output="screen",
        ros_arguments=["--enclave", value["camera_enclave"]],
        parameters=[{"sequence": ParameterValue(value["sequence"], value_type=str), **playing}],
        condition=recorded,
    )
    robot = Node(
        package="gld_ros",
        executable="gld_sim_camera",
        output="screen",
        ros_arguments=["--enclave", value["camera_enclave"]],
        parameters=[{"seed": ParameterValue(value["seed"], value_type=int), **playing}],
        condition=simulated,
    )
    gld = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "gld.launch.py")),
        launch_arguments={
            "model": value["model"],
            "image": "/camera/image_raw",
            "camera_info": "/camera/camera_info",
            "rviz": value["rviz"],
            "security_enclave": value["security_enclave"],
        }.items(),
    )
    # Room for uncompressed images in shared memory, unless the user has a profile already.
    large_images = [
        SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=str(SHARE / "config" / "fastdds.xml")))
        for name in PROFILES
    ]
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, *large_images, replay, robot, gld])
