# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of `gld_node`: names, defaults, meaning and limits in one place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from gld_ros.calibration import LEVELS
from gld_ros.data.camera_messages import FULL_RANGE
from gld_ros.ros.declarations import declare, fixed, live, refused_choice
from gld_ros.scene.key_frames import KeyFrameRules
from gld_ros.scene.map.config import MapConfig

SHORTEST_HEARTBEAT = 0.01  # seconds; beats are made by the thread that answers requests


@dataclass(frozen=True)
class Parameters:
    """One field a ROS parameter."""

    model: str = live(
        "mini",
        "Name of a model on this machine (mini, gld-da3, gld-vggt, a Hub id) or path of a model folder. It cannot "
        "change while the node is active; the next configure loads it.",
    )
    device: str = fixed("auto", "Device of the model; auto takes a GPU if there is one.", ("auto", "cpu", "cuda"))
    dtype: str = fixed(
        "auto", "Type of the weights; auto takes bfloat16 where it is fast.", ("auto", "float32", "bfloat16")
    )
    offload: str = fixed("none", "sequential keeps only the component in use on the GPU.", ("none", "sequential"))
    autostart: bool = fixed(False, "Configure and activate the node at start.")
    image_topics: tuple[str, ...] = fixed(("image",), "Image topics, one per camera, of Image or CompressedImage.")
    camera_info_topics: tuple[str, ...] = fixed(("camera_info",), "CameraInfo topics, in the order of image_topics.")
    depth_topics: tuple[str, ...] = fixed(
        ("",),
        "Topics of depth sensors, of Image or CompressedImage (compressedDepth): one for each image topic, empty for a "
        "camera without; a single empty name means none.",
    )
    depth_camera_info_topics: tuple[str, ...] = fixed(
        ("",),
        "CameraInfo topics of the depth, in the order of depth_topics; empty where depth is registered to the images. "
        "With CameraInfo and TF it is carried into the image's camera.",
    )
    depth_slop: float = fixed(
        0.02, "Largest difference between the stamps of an image and its depth, s; motion is made up for.", (0.0, 1.0)
    )
    rectified: bool = fixed(False, "The images are already rectified: use P of CameraInfo instead of K and D.")
    value_range: tuple[int, ...] = fixed(
        (0, 0),
        "Values of 16-bit images that become black and white; 0, 0 finds them, from images that use few of 256 grey "
        "levels. Key frames of a range that is too small for later images are dropped.",
    )
    camera_axes: str = fixed(
        "optical", "Axes of the camera frames and of poses on pose_topic (REP 103).", ("optical", "body")
    )
    map_frame: str = fixed("map", "Fixed frame of the context, of the poses and of the clouds.")
    view_frame: str = fixed("gld_camera_optical", "frame_id of synthesized images; their poses are in ~/views.")
    pose_source: str = fixed(
        "tf", "Where camera poses come from: tf, or messages on pose_topic.", ("tf", "pose", "odometry")
    )
    pose_topic: str = fixed("pose", "Topic of PoseStamped (pose_source pose) or Odometry (pose_source odometry).")
    pose_max_gap: float = fixed(0.5, "Longest gap between two poses that is interpolated, s.", (0.0, 60.0))
    tf_timeout: float = live(
        1.0,
        "Longest time that a frame or a request waits for its transform, and a frame for its depth, s.",
        (0.0, 60.0),
    )
    queue_depth: int = fixed(5, "History depth of the image and CameraInfo subscriptions.", (1, 1000))
    pending_frames: int = fixed(
        60, "Most frames that wait for a pose or a partner; beyond that the oldest is dropped.", (1, 1000)
    )
    pairing_slop: float = fixed(
        0.0, "Largest difference between the stamps of an image and its CameraInfo, s.", (0.0, 1.0)
    )
    input_timeout: float = live(5.0, "Time without input after which the node warns, s; 0 never warns.", (0.0, 3600.0))
    keyframe_translation: float = live(
        0.1, "Distance to the stored key frames of its camera that makes a frame a key frame, m.", (0.0, 1e6)
    )
    keyframe_rotation: float = live(
        0.15, "Angle to the stored key frames of its camera that makes a frame a key frame, rad.", (0.0, math.pi)
    )
    keyframe_max_age: float = live(120.0, "Age at which key frames are dropped, s.", (0.0, 1e9))
    context_capacity: int = live(64, "Most key frames kept; beyond that the oldest is dropped.", (1, 10000))
    max_sources: int = live(2, "Most source views of a synthesized view; the model may have a lower limit.", (1, 64))
    max_views: int = live(
        32, "Most poses of a request; those that the model cannot make together are made in windows.", (1, 10000)
    )
    max_requests: int = fixed(8, "Most requests that wait; further ones are answered CANCELLED.", (1, 1000))
    max_novelty: float = live(
        1.0,
        "Highest novelty of a view; views farther beyond what was seen are refused (NO_CONTEXT). 1 refuses none.",
        (0.0, 1.0),
    )
    depth_coverage: float = live(
        0.0,
        "Coverage of the depth bounds for ~/request and continuous mode: 0.5, 0.8, 0.9 or 0.95; 0 gives no bounds.",
        (0.0, max(LEVELS)),
    )
    steps: int = live(0, "Sampling steps of each diffusion stage; 0 takes the model's default.", (0, 1000))
    guidance_scale: float = live(0.0, "Guidance scale; 0 takes the model's default.", (0.0, 100.0))
    request_axes: str = live("body", "Axes of poses on ~/request; RViz's goal tool gives body.", ("body", "optical"))
    request_height: float = live(
        0.0, "Height added to poses on ~/request and of paths, which lie on the ground, m.", (-1e3, 1e3)
    )
    cloud_stride: int = live(
        0,
        "Every n-th row and column of a view enters the cloud; 0 chooses n so that a view adds at most 100,000 points.",
        (0, 64),
    )
    cloud_min_confidence: float = live(0.0, "Lowest confidence of a point of the cloud.", (0.0, 1.0))
    map_enabled: bool = live(False, "Keep a map of what was observed and what was generated.")
    map_backend: str = fixed(
        "voxel_hash",
        "Backend of the observed layer; open3d is a TSDF, on the GPU if there is one.",
        ("voxel_hash", "open3d"),
    )
    map_voxel_size: float = fixed(0.05, "Side of the voxels and of the grid cells, m.", (5e-3, 10.0))
    map_max_depth: float = fixed(5.0, "Largest depth of a surface that enters the map, m.", (0.01, 1e3))
    map_min_confidence: float = fixed(0.5, "Lowest confidence of a depth that marks a surface.", (0.0, 1.0))
    map_free_confidence: float = fixed(0.9, "Lowest confidence of a depth that clears the space before it.", (0.0, 1.0))
    map_free_margin: float = fixed(
        0.1, "Part of a ray before its surface that is not cleared, as a share of the depth.", (0.0, 0.9)
    )
    map_confirmations: int = fixed(
        2,
        "Of the four key frames before, how many have to show a surface that the model found, within 3 %, before it "
        "marks or clears. A depth sensor's needs none.",
        (0, 4),
    )
    map_radius: float = fixed(10.0, "Distance from the robot at which the map ends, m.", (0.1, 1e3))
    map_generated_lifetime: float = fixed(60.0, "Time in which generated points fade, s.", (0.1, 1e6))
    map_max_voxels: int = fixed(
        1_000_000, "Most voxels of each layer; beyond that the oldest are dropped.", (1000, 100_000_000)
    )
    map_low: float = live(0.1, "Lower end of the heights that ~/map/occupancy shows, m.", (-1e4, 1e4))
    map_high: float = live(1.5, "Upper end of the heights that ~/map/occupancy shows, m.", (-1e4, 1e4))
    map_rate: float = fixed(1.0, "Rate at which key frames enter the map and the map is published, Hz.", (0.01, 30.0))
    map_folder: str = fixed(
        "~/.ros/gld_maps", "Folder that maps are saved to and loaded from; paths outside it are refused."
    )
    reality_check: bool = live(
        True, "Compare generated pixels with later observations; lower their confidence after large errors."
    )
    reality_tolerance: float = fixed(
        0.1, "Relative depth error up to which a generated point counts as right.", (1e-3, 1.0)
    )
    reality_lifetime: float = fixed(120.0, "Time that a generated point waits to be observed, s.", (0.1, 1e6))
    follow: bool = fixed(False, "Start in continuous mode; ~/follow pauses and resumes it.")
    follow_rate: float = live(1.0, "How often continuous mode looks for new views, Hz.", (0.01, 30.0))
    follow_budget: float = live(0.5, "Largest share of the time that continuous mode keeps the model busy.", (0.0, 1.0))
    follow_frame: str = live(
        "", "Frame of the robot (body axes) that is followed; empty takes the camera of the newest key frame."
    )
    follow_offsets: tuple[float, ...] = live(
        (1.0, 0.0, 0.0, 0.8, 1.0, 0.0, 0.0, -0.8),
        "Views relative to follow_frame: x, y, z (m, forward, left, up) and yaw (rad, to the left) of each view.",
    )
    follow_path_topic: str = fixed(
        "", "Topic of a nav_msgs/Path; if set, views are along this path instead of at follow_offsets."
    )
    follow_path_distances: tuple[float, ...] = live(
        (3.0, 4.5), "Distances of the views along the path ahead of the robot, m; choose them farther than it can see."
    )
    follow_seed: int = live(
        2**32 - 1, "Seed of the views of continuous mode; it tells them from answers.", (0, 2**32 - 1)
    )
    odom_frame: str = fixed(
        "", "Frame that moves in map_frame at a loop closure (REP 105); empty means that TF rewrites its own history."
    )
    pose_jump_translation: float = live(
        0.1, "Change of a key frame's position that means that the map frame moved, m.", (1e-3, 1e6)
    )
    pose_jump_rotation: float = live(
        0.05, "Change of a key frame's orientation that means that the map frame moved, rad.", (1e-3, math.pi)
    )
    watchdog_timeout: float = live(
        120.0, "Time without progress after which a request is an error in /diagnostics, s.", (0.1, 86400.0)
    )
    failure_folder: str = fixed("~/.ros/gld_failures", "Folder in which requests that the model failed on are kept.")
    failure_keep: int = fixed(5, "Number of failed requests that are kept, the newest; 0 keeps none.", (0, 1000))
    diagnostics_period: float = fixed(1.0, "Time between two messages on /diagnostics, s.", (0.05, 60.0))
    bond_heartbeat_period: float = fixed(
        0.1, "Time between heartbeats of the bond with Nav2's lifecycle manager, s; 0 makes no bond.", (0.0, 2.0)
    )
    frustum_length: float = live(0.3, "Length of the frusta drawn on ~/frusta, m.", (1e-3, 1e6))

    @property
    def key_frame_rules(self) -> KeyFrameRules:
        return KeyFrameRules(
            self.keyframe_translation, self.keyframe_rotation, self.keyframe_max_age, self.context_capacity
        )

    @property
    def map_config(self) -> MapConfig:
        """Each of its fields is a parameter with `map_` before its name."""
        return MapConfig(**{f.name: getattr(self, f"map_{f.name}") for f in dataclasses.fields(MapConfig)})


FIELDS = {f.name: f for f in dataclasses.fields(Parameters)}


def declare_parameters(node: Node) -> Parameters:
    """Declare every parameter on `node` and return the values it was started with.

    Raises ValueError for a value that is none of the choices; rclpy raises for wrong types and ranges.
    """
    parameters = declare(node, Parameters)
    for name in FIELDS:
        if reason := _refusal(name, getattr(parameters, name)):
            raise ValueError(reason)
    if len(parameters.image_topics) != len(parameters.camera_info_topics) or not parameters.image_topics:
        raise ValueError(
            f"image_topics {list(parameters.image_topics)} and camera_info_topics "
            f"{list(parameters.camera_info_topics)}: one CameraInfo topic for every image topic is expected"
        )
    if reason := _depth_refusal(parameters):
        raise ValueError(reason)
    node.add_on_set_parameters_callback(_check)
    return parameters


def _depth_refusal(p: Parameters) -> str:
    """Why the topics of depth cannot be; empty if they can."""
    depths, infos = p.depth_topics, p.depth_camera_info_topics
    for name, topics in (("depth_topics", depths), ("depth_camera_info_topics", infos)):
        if any(topics) and len(topics) != len(p.image_topics):
            return (
                f"{name} {list(topics)} are {len(topics)} for {len(p.image_topics)} image_topics "
                f"{list(p.image_topics)}; one for each is expected, '' for a camera without"
            )
    lonely = [info for depth, info in zip_longest(depths, infos, fillvalue="") if info and not depth]
    return f"depth_camera_info_topics has {lonely[0]} for a camera without depth in depth_topics" if lonely else ""


def _check(parameters: list[Parameter]) -> SetParametersResult:
    reason = "; ".join(filter(None, (_refusal(p.name, p.value) for p in parameters if p.name in FIELDS)))
    return SetParametersResult(successful=not reason, reason=reason)


def _refusal(name: str, value: Any) -> str:
    """Why a value cannot be, beyond what rclpy checks (type, range, read-only); empty if it can."""
    if reason := refused_choice(FIELDS[name], value):
        return reason
    if name == "depth_coverage" and value not in (0, *LEVELS):
        return f"{name} is {value}, expected 0 or one of {', '.join(map(str, LEVELS))}"
    if name.startswith("follow_") and isinstance(value, Sequence) and not isinstance(value, str):
        each = 4 if name == "follow_offsets" else 1
        if not value or len(value) % each or not all(math.isfinite(number) for number in value):
            return f"{name} holds {len(value)} numbers, expected finite ones, {each} for each view"
    if name == "value_range" and (
        len(value) != 2 or (tuple(value) != (0, 0) and not 0 <= value[0] < value[1] <= FULL_RANGE[1])
    ):
        return f"{name} is {list(value)}, expected two values of 16 bits, the lower one first; or 0, 0"
    if name == "bond_heartbeat_period" and 0 < value < SHORTEST_HEARTBEAT:
        return f"{name} is {value:g}, expected 0 or at least {SHORTEST_HEARTBEAT:g}"
    return ""
