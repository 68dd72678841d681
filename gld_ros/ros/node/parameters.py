# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of `gld_node`: names, defaults, meaning and limits in one place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from gld_ros.calibration import LEVELS
from gld_ros.scene.key_frames import KeyFrameRules

SHORTEST_HEARTBEAT = 0.01  # seconds; beats are made by the thread that answers requests


def _parameter(
    default: Any,
    description: str,
    limits: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
    dynamic: bool = False,
) -> Any:
    return field(
        default=default,
        metadata={"description": description, "limits": limits, "choices": choices, "dynamic": dynamic},
    )


@dataclass(frozen=True)
class Parameters:
    """One field a ROS parameter. Those not dynamic are read-only: they are set at start."""

    model: str = _parameter(
        "mini",
        "Name of a model on this machine (mini, gld-da3, gld-vggt, a Hub id) or path of a model folder. It "
        "cannot change while the node is active; the next configure loads it.",
        dynamic=True,
    )
    device: str = _parameter(
        "auto", "Device of the model; auto takes a GPU if there is one.", None, ("auto", "cpu", "cuda")
    )
    dtype: str = _parameter(
        "auto", "Type of the weights; auto takes bfloat16 where it is fast.", None, ("auto", "float32", "bfloat16")
    )
    offload: str = _parameter(
        "none", "sequential keeps only the component in use on the GPU.", None, ("none", "sequential")
    )
    autostart: bool = _parameter(False, "Configure and activate the node at start.")
    image_topics: tuple[str, ...] = _parameter(
        ("image",), "Image topics, one per camera; a name that ends in /compressed is a CompressedImage."
    )
    camera_info_topics: tuple[str, ...] = _parameter(
        ("camera_info",), "CameraInfo topics, in the order of image_topics."
    )
    rectified: bool = _parameter(False, "The images are already rectified: use P of CameraInfo instead of K and D.")
    camera_axes: str = _parameter(
        "optical", "Axes of the camera frames and of poses on pose_topic (REP 103).", None, ("optical", "body")
    )
    map_frame: str = _parameter("map", "Fixed frame of the context, of the poses and of the clouds.")
    view_frame: str = _parameter("gld_camera_optical", "frame_id of synthesized images; their poses are in ~/views.")
    pose_source: str = _parameter(
        "tf", "Where camera poses come from: tf, or messages on pose_topic.", None, ("tf", "pose", "odometry")
    )
    pose_topic: str = _parameter("pose", "Topic of PoseStamped (pose_source pose) or Odometry (pose_source odometry).")
    pose_max_gap: float = _parameter(0.5, "Longest gap between two poses that is interpolated, s.", (0.0, 60.0))
    tf_timeout: float = _parameter(
        1.0, "Longest time that a frame or a request waits for its transform, s.", (0.0, 60.0), (), True
    )
    queue_depth: int = _parameter(5, "History depth of the image and CameraInfo subscriptions.", (1, 1000))
    pending_frames: int = _parameter(
        60, "Most frames that wait for a pose or a partner; beyond that the oldest is dropped.", (1, 1000)
    )
    pairing_slop: float = _parameter(
        0.0, "Largest difference between the stamps of an image and its CameraInfo, s.", (0.0, 1.0)
    )
    input_timeout: float = _parameter(
        5.0, "Time without input after which the node warns, s; 0 never warns.", (0.0, 3600.0), (), True
    )
    keyframe_translation: float = _parameter(
        0.1, "Distance to the stored key frames of its camera that makes a frame a key frame, m.", (0.0, 1e6), (), True
    )
    keyframe_rotation: float = _parameter(
        0.15,
        "Angle to the stored key frames of its camera that makes a frame a key frame, rad.",
        (0.0, math.pi),
        (),
        True,
    )
    keyframe_max_age: float = _parameter(120.0, "Age at which key frames are dropped, s.", (0.0, 1e9), (), True)
    context_capacity: int = _parameter(
        64, "Most key frames kept; beyond that the oldest is dropped.", (1, 10000), (), True
    )
    max_sources: int = _parameter(
        2, "Most source views of a synthesized view; the model may have a lower limit.", (1, 64), (), True
    )
    max_views: int = _parameter(32, "Most poses of a request.", (1, 10000), (), True)
    max_requests: int = _parameter(8, "Most requests that wait; further ones are answered CANCELLED.", (1, 1000))
    max_novelty: float = _parameter(
        1.0,
        "Highest novelty of a view; views farther beyond what was seen are refused (NO_CONTEXT). 1 refuses none.",
        (0.0, 1.0),
        (),
        True,
    )
    depth_coverage: float = _parameter(
        0.0,
        "Coverage of the depth bounds for ~/request and continuous mode: 0.5, 0.8, 0.9 or 0.95; 0 gives no bounds.",
        (0.0, max(LEVELS)),
        (),
        True,
    )
    steps: int = _parameter(
        0, "Sampling steps of each diffusion stage; 0 takes the model's default.", (0, 1000), (), True
    )
    guidance_scale: float = _parameter(0.0, "Guidance scale; 0 takes the model's default.", (0.0, 100.0), (), True)
    request_axes: str = _parameter(
        "body", "Axes of poses on ~/request; RViz's goal tool gives body.", None, ("body", "optical"), True
    )
    request_height: float = _parameter(
        0.0, "Height added to poses on ~/request and of paths, which lie on the ground, m.", (-1e3, 1e3), (), True
    )
    cloud_stride: int = _parameter(
        0,
        "Every n-th row and column of a view enters the cloud; 0 chooses n so that a view adds at most 100,000 points.",
        (0, 64),
        (),
        True,
    )
    cloud_min_confidence: float = _parameter(0.0, "Lowest confidence of a point of the cloud.", (0.0, 1.0), (), True)
    map_enabled: bool = _parameter(False, "Keep a map of what was observed and what was generated.", None, (), True)
    map_backend: str = _parameter(
        "voxel_hash",
        "Backend of the observed layer; open3d is a TSDF, on the GPU if there is one.",
        None,
        ("voxel_hash", "open3d"),
    )
    map_voxel_size: float = _parameter(0.05, "Side of the voxels and of the grid cells, m.", (5e-3, 10.0))
    map_max_depth: float = _parameter(5.0, "Largest depth of a surface that enters the map, m.", (0.01, 1e3))
    map_min_confidence: float = _parameter(0.3, "Lowest confidence of a depth that marks a surface.", (0.0, 1.0))
    map_free_confidence: float = _parameter(
        0.7, "Lowest confidence of a depth that clears the space before it.", (0.0, 1.0)
    )
    map_free_margin: float = _parameter(
        0.1, "Part of a ray before its surface that is not cleared, as a share of the depth.", (0.0, 0.9)
    )
    map_radius: float = _parameter(10.0, "Distance from the robot at which the map ends, m.", (0.1, 1e3))
    map_generated_lifetime: float = _parameter(60.0, "Time in which generated points fade, s.", (0.1, 1e6))
    map_max_voxels: int = _parameter(
        1_000_000, "Most voxels of each layer; beyond that the oldest are dropped.", (1000, 100_000_000)
    )
    map_low: float = _parameter(0.1, "Lower end of the heights that ~/map/occupancy shows, m.", (-1e4, 1e4), (), True)
    map_high: float = _parameter(1.5, "Upper end of the heights that ~/map/occupancy shows, m.", (-1e4, 1e4), (), True)
    map_rate: float = _parameter(
        1.0, "Rate at which key frames enter the map and the map is published, Hz.", (0.01, 30.0)
    )
    map_folder: str = _parameter(
        "~/.ros/gld_maps", "Folder that maps are saved to and loaded from; paths outside it are refused."
    )
    reality_check: bool = _parameter(
        True,
        "Compare generated pixels with later observations; lower their confidence after large errors.",
        dynamic=True,
    )
    reality_tolerance: float = _parameter(
        0.1, "Relative depth error up to which a generated point counts as right.", (1e-3, 1.0)
    )
    reality_lifetime: float = _parameter(120.0, "Time that a generated point waits to be observed, s.", (0.1, 1e6))
    follow: bool = _parameter(False, "Start in continuous mode; ~/follow pauses and resumes it.")
    follow_rate: float = _parameter(1.0, "How often continuous mode looks for new views, Hz.", (0.01, 30.0), (), True)
    follow_budget: float = _parameter(
        0.5, "Largest share of the time that continuous mode keeps the model busy.", (0.0, 1.0), (), True
    )
    follow_frame: str = _parameter(
        "",
        "Frame of the robot (body axes) that is followed; empty takes the camera of the newest key frame.",
        dynamic=True,
    )
    follow_offsets: tuple[float, ...] = _parameter(
        (1.0, 0.0, 0.0, 0.8, 1.0, 0.0, 0.0, -0.8),
        "Views relative to follow_frame: x, y, z (m, forward, left, up) and yaw (rad, to the left) of each view.",
        dynamic=True,
    )
    follow_path_topic: str = _parameter(
        "", "Topic of a nav_msgs/Path; if set, views are along this path instead of at follow_offsets."
    )
    follow_path_distances: tuple[float, ...] = _parameter(
        (3.0, 4.5),
        "Distances of the views along the path ahead of the robot, m; choose them farther than it can see.",
        dynamic=True,
    )
    follow_seed: int = _parameter(
        2**32 - 1, "Seed of the views of continuous mode; it tells them from answers.", (0, 2**32 - 1), (), True
    )
    odom_frame: str = _parameter(
        "", "Frame that moves in map_frame at a loop closure (REP 105); empty means that TF rewrites its own history."
    )
    pose_jump_translation: float = _parameter(
        0.1, "Change of a key frame's position that means that the map frame moved, m.", (1e-3, 1e6), (), True
    )
    pose_jump_rotation: float = _parameter(
        0.05, "Change of a key frame's orientation that means that the map frame moved, rad.", (1e-3, math.pi), (), True
    )
    watchdog_timeout: float = _parameter(
        120.0, "Time without progress after which a request is an error in /diagnostics, s.", (0.1, 86400.0), (), True
    )
    failure_folder: str = _parameter(
        "~/.ros/gld_failures", "Folder in which requests that the model failed on are kept."
    )
    failure_keep: int = _parameter(5, "Number of failed requests that are kept, the newest; 0 keeps none.", (0, 1000))
    diagnostics_period: float = _parameter(1.0, "Time between two messages on /diagnostics, s.", (0.05, 60.0))
    bond_heartbeat_period: float = _parameter(
        0.1, "Time between heartbeats of the bond with Nav2's lifecycle manager, s; 0 makes no bond.", (0.0, 2.0)
    )
    frustum_length: float = _parameter(0.3, "Length of the frusta drawn on ~/frusta, m.", (1e-3, 1e6), (), True)

    @property
    def key_frame_rules(self) -> KeyFrameRules:
        return KeyFrameRules(
            self.keyframe_translation, self.keyframe_rotation, self.keyframe_max_age, self.context_capacity
        )


FIELDS = {f.name: f for f in dataclasses.fields(Parameters)}


def declare_parameters(node: Node) -> Parameters:
    """Declare every parameter on `node` and return the values it was started with.

    Raises ValueError for a value that is none of the choices; rclpy raises for wrong types and ranges.
    """
    for name, f in FIELDS.items():
        default = list(f.default) if isinstance(f.default, tuple) else f.default
        node.declare_parameter(name, default, _descriptor(f))
    parameters = read_parameters(node)
    for name in FIELDS:
        reason = _refusal(name, getattr(parameters, name))
        if reason:
            raise ValueError(reason)
    if len(parameters.image_topics) != len(parameters.camera_info_topics) or not parameters.image_topics:
        raise ValueError(
            f"image_topics {list(parameters.image_topics)} and camera_info_topics "
            f"{list(parameters.camera_info_topics)}: one CameraInfo topic for every image topic is expected"
        )
    node.add_on_set_parameters_callback(_check)
    return parameters


def read_parameters(node: Node) -> Parameters:
    """The current values."""
    values: dict[str, Any] = {name: node.get_parameter(name).value for name in FIELDS}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Parameters(**values)


def _descriptor(f: dataclasses.Field[Any]) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=f.metadata["description"], read_only=not f.metadata["dynamic"])
    if f.metadata["choices"]:
        descriptor.additional_constraints = "One of " + ", ".join(f.metadata["choices"])
    if f.metadata["limits"] is not None:
        low, high = f.metadata["limits"]
        if isinstance(f.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor


def _check(parameters: list[Parameter]) -> SetParametersResult:
    reasons = [_refusal(p.name, p.value) for p in parameters if p.name in FIELDS]
    reason = "; ".join(reason for reason in reasons if reason)
    return SetParametersResult(successful=not reason, reason=reason)


def _refusal(name: str, value: Any) -> str:
    """Why a value cannot be, beyond what rclpy checks (type, range, read-only); empty if it can."""
    choices = FIELDS[name].metadata["choices"]
    if choices and value not in choices:
        return f"{name} is '{value}', expected one of {', '.join(choices)}"
    if name == "depth_coverage" and value not in (0, *LEVELS):
        return f"{name} is {value}, expected 0 or one of {', '.join(map(str, LEVELS))}"
    if name.startswith("follow_") and isinstance(value, Sequence) and not isinstance(value, str):
        each = 4 if name == "follow_offsets" else 1
        if not value or len(value) % each or not all(math.isfinite(number) for number in value):
            return f"{name} holds {len(value)} numbers, expected finite ones, {each} for each view"
    if name == "bond_heartbeat_period" and 0 < value < SHORTEST_HEARTBEAT:
        return f"{name} is {value:g}, expected 0 or at least {SHORTEST_HEARTBEAT:g}"
    return ""
