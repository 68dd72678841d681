# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every topic, service and action of `gld_node`, once: the node creates them from here, and docs/interfaces.md and the
SROS2 policy are printed from here."""

from __future__ import annotations

from bond.msg import Status
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from map_msgs.msg import OccupancyGridUpdate
from nav_msgs.msg import OccupancyGrid, Odometry, Path
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from gld_ros.action import SynthesizeTrajectory
from gld_ros.msg import RealityCheck, SynthesizedView
from gld_ros.ros.declarations import BEST_EFFORT, LATCHED, Endpoint, Table
from gld_ros.srv import LoadMap, SaveMap, SynthesizeViews

IMAGES = ("image", "depth", "confidence", "generated")  # of a view
NEWEST = QoSProfile(depth=1)
BOND = Endpoint(
    Status,
    "Heartbeats of this node and of Nav2's lifecycle manager, while the node is active (tutorials/nav2.md).",
    QoSProfile(depth=5),
)

# The names of inputs are those of the parameters' defaults. The history depth of the best-effort ones is `queue_depth`.
SUBSCRIBED = {
    "image": Endpoint(
        Image,
        "Camera images, parameter `image_topics`: every colour or grey encoding of `cv_bridge`. The frame is the "
        "camera's optical frame (REP 103); the stamp must not be zero.",
        BEST_EFFORT,
    ),
    "image/compressed": Endpoint(
        CompressedImage,
        "Compressed camera images, where such are published; else by a name that ends in `/compressed`.",
        BEST_EFFORT,
    ),
    "camera_info": Endpoint(
        CameraInfo,
        "Intrinsics with the stamps of the images, parameter `camera_info_topics`; or latched, sent once or when they "
        "change. K and D are used for raw images (plumb_bob, rational_polynomial, equidistant), P with `rectified`.",
        BEST_EFFORT,
    ),
    "depth": Endpoint(
        (Image, CompressedImage),
        "Depth of a sensor, parameter `depth_topics`: 16UC1 (millimetres), 32FC1 (metres), or compressedDepth; 0, NaN "
        "and infinity are unknown. Its frame is that of the images, or it has CameraInfo of its own.",
        BEST_EFFORT,
    ),
    "depth_camera_info": Endpoint(
        CameraInfo,
        "Intrinsics of depth that is not registered to the images, parameter `depth_camera_info_topics`; the newest "
        "holds.",
        BEST_EFFORT,
    ),
    "pose": Endpoint(
        (PoseStamped, Odometry),
        "Poses instead of TF, with `pose_source`: of the camera, or of the odometry's child frame.",
        BEST_EFFORT,
    ),
    "plan": Endpoint(Path, "The path along which continuous mode makes views, with `follow_path_topic`.", NEWEST),
    "/tf": Endpoint(TFMessage, "Transforms: poses of the cameras at the stamps of their images, and of requests."),
    "/tf_static": Endpoint(TFMessage, "Transforms that never change.", LATCHED),
    "bond": BOND,
    "~/request": Endpoint(
        PoseStamped,
        "Asks for one view, for example from RViz's goal tool; the answer comes on the published topics.",
        NEWEST,
    ),
}
PUBLISHED = {
    "bond": BOND,
    "~/views": Endpoint(SynthesizedView, "Each synthesized view with its pose, scale, model, seed and source stamps."),
    "~/image": Endpoint(Image, "RGB of the view, rgb8."),
    "~/depth": Endpoint(Image, "Depth of the view, 32FC1, metres, NaN unknown (REP 118)."),
    "~/confidence": Endpoint(Image, "Confidence of the depth, 32FC1, 0 to 1."),
    "~/generated": Endpoint(Image, "Mask of the view, mono8: 255 generated, 0 observed by at least one source view."),
    "~/camera_info": Endpoint(CameraInfo, "Intrinsics of the view."),
    "~/points": Endpoint(
        PointCloud2,
        "All views of the last answer in the map frame: x, y, z, rgb, confidence, generated. float32 is too coarse "
        "for a map frame with UTM coordinates; `~/views` keeps full poses.",
        LATCHED,
    ),
    "~/frusta": Endpoint(MarkerArray, "Frusta of the key frames (green) and of the last answer (orange).", LATCHED),
    "~/reality_check": Endpoint(
        RealityCheck,
        "Comparison of generated points with later observations of the same place: errors by age and distance, "
        "obstacles that do not exist or were missed, and the factor `trust`.",
        LATCHED,
    ),
    "~/map/observed": Endpoint(
        PointCloud2,
        "Observed surfaces, with `map_enabled`: the fields of ~/points, and `stamp` (float64, seconds) of the newest "
        "image that shows a point. Sent after changes, at most `map_rate` times a second.",
        LATCHED,
    ),
    "~/map/generated": Endpoint(
        PointCloud2, "Generated points where nothing was observed; their confidence fades with age.", LATCHED
    ),
    "~/map/occupancy": Endpoint(
        OccupancyGrid,
        "Grid of the map between `map_low` and `map_high`: -1 unknown, 0 observed free, 100 observed occupied, 1 to "
        "99 generated. The whole grid is sent when its extent or frame changes, when most of its cells change, or "
        "when a subscriber joins.",
        LATCHED,
    ),
    "~/map/occupancy_updates": Endpoint(
        OccupancyGridUpdate,
        "The cells that changed since the last whole grid. Not sent while a subscriber takes `~/map/occupancy` "
        "without the updates.",
    ),
    "~/status": Endpoint(
        DiagnosticStatus, "The node's own status of /diagnostics, sent when its level or message changes.", LATCHED
    ),
    "/diagnostics": Endpoint(
        DiagnosticArray, "State of the node, its answers, and counts of every topic; see troubleshooting.md."
    ),
}
SERVED = {
    "~/synthesize": Endpoint(SynthesizeViews, "Makes views at poses in any TF frame."),
    "~/follow": Endpoint(
        SetBool,
        "Resumes (true) or pauses (false) continuous mode: views at `follow_offsets` or along a path, made while no "
        "request waits. They are published like answers, with the seed `follow_seed`.",
    ),
    "~/clear_context": Endpoint(Trigger, "Deletes all key frames."),
    "~/clear_map": Endpoint(Trigger, "Deletes both layers of the map."),
    "~/save_map": Endpoint(SaveMap, "Writes the map to a file in `map_folder`."),
    "~/load_map": Endpoint(LoadMap, "Replaces the map by one from `map_folder`. A damaged file changes nothing."),
}
EXECUTED = {
    "~/synthesize_trajectory": Endpoint(
        SynthesizeTrajectory,
        "Makes views along a path, with feedback and cancel; if it ends early, finished views are kept.",
    ),
}
INTERFACE: Table = {"subscribes": SUBSCRIBED, "publishes": PUBLISHED, "serves": SERVED, "executes": EXECUTED}

# rclpy creates these for a lifecycle node.
LIFECYCLE: Table = {
    "serves": {
        "~/change_state": Endpoint(
            ChangeState,
            "`configure` loads the model and warms it up, `activate` subscribes and answers, `cleanup` frees the "
            "model.",
        ),
        "~/get_state": Endpoint(GetState, "The present state."),
        "~/get_available_states": Endpoint(GetAvailableStates, "All states."),
        "~/get_available_transitions": Endpoint(GetAvailableTransitions, "Transitions from the present state."),
        "~/get_transition_graph": Endpoint(GetAvailableTransitions, "All transitions."),
    },
    "publishes": {"~/transition_event": Endpoint(TransitionEvent, "Every transition made.")},
}
