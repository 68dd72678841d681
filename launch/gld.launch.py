# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_node on a robot: `ros2 launch gld_ros gld.launch.py image:=/camera/image camera_info:=/camera/camera_info`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory("gld_ros"))
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Jazzy; Kilted and later
ARGUMENTS = {  # name: (default, description)
    "model": ("mini", "Name of a model on this machine (mini, gld-da3, gld-vggt, a Hub id) or a model folder."),
    "config": (
        str(SHARE / "config" / "gld.yaml"),
        "Parameter file. The other launch arguments, such as the model, win over it.",
    ),
    "image": ("image", "Image topic, or several with commas, of Image or CompressedImage."),
    "camera_info": ("camera_info", "CameraInfo topic of the same camera, or several with commas."),
    "depth": ("''", "Depth topic of the same camera, or several with commas; '' for a camera without."),
    "depth_camera_info": ("''", "CameraInfo topic of the depth, where that is not registered to the images."),
    "namespace": ("", "Namespace of the node, for several robots."),
    "tf": (
        "/tf",
        "TF topic; tf:=tf takes /NAMESPACE/tf and /NAMESPACE/tf_static, as robots in namespaces publish them.",
    ),
    "use_sim_time": ("false", "Take the time from /clock, for simulators and bags."),
    "autostart": ("true", "Configure and activate the node at start."),
    "security_enclave": ("/", "SROS2 enclave of the node, such as /gld_ros/gld_node; used with ROS_SECURITY_ENABLE."),
    "rviz": ("false", "Start RViz with config/gld.rviz; its camera display shows the topic image."),
}


def check_config(context: LaunchContext) -> None:
    """Raise RuntimeError unless the parameter file is there: rcl would name neither the argument nor the reason."""
    path = LaunchConfiguration("config").perform(context)
    if not Path(path).is_file():
        raise RuntimeError(f"config:={path}: there is no such file; a YAML file of gld_node's parameters is expected")


def generate_launch_description() -> LaunchDescription:
    value = {name: LaunchConfiguration(name) for name in ARGUMENTS}

    def topics(argument: str) -> ParameterValue:
        return ParameterValue(["[", value[argument], "]"])  # read as YAML: a list of names

    tf = [("/tf", value["tf"]), ("/tf_static", [value["tf"], "_static"])]
    use_sim_time = ParameterValue(value["use_sim_time"], value_type=bool)
    # Room for uncompressed images in shared memory, unless the user has a profile already.
    large_images = [
        SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=str(SHARE / "config" / "fastdds.xml")))
        for name in PROFILES
    ]
    gld = LifecycleNode(
        package="gld_ros",
        executable="gld_node",
        name="gld_node",
        namespace=value["namespace"],
        output="screen",
        ros_arguments=["--enclave", value["security_enclave"]],
        remappings=tf,
        parameters=[
            value["config"],
            {
                "model": ParameterValue(value["model"], value_type=str),
                "image_topics": topics("image"),
                "camera_info_topics": topics("camera_info"),
                "depth_topics": topics("depth"),
                "depth_camera_info_topics": topics("depth_camera_info"),
                "autostart": ParameterValue(value["autostart"], value_type=bool),
                "use_sim_time": use_sim_time,
            },
        ],
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=value["namespace"],
        arguments=["-d", str(SHARE / "config" / "gld.rviz")],
        remappings=tf,
        parameters=[{"use_sim_time": use_sim_time}],
        condition=IfCondition(value["rviz"]),
    )
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=check_config), *large_images, gld, rviz])
