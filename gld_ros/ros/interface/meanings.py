# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One line for every topic, service and action of this package's nodes, for docs/interfaces.md.

Names as in `graph.Endpoint`; NAME stands for the name of a camera. A test fails where one is missing or too much.
"""

GLD_NODE = {
    # subscribed
    "image": "Camera images, parameter `image_topics`: every colour or grey encoding of `cv_bridge`. The frame is the "
    "camera's optical frame (REP 103); the stamp must not be zero.",
    "image/compressed": "Compressed camera images, where the name in `image_topics` ends in `/compressed`.",
    "camera_info": "Intrinsics with the stamps of the images, parameter `camera_info_topics`. K and D are used for raw "
    "images (plumb_bob, rational_polynomial, equidistant), P with `rectified`.",
    "pose": "Poses instead of TF, with `pose_source`: of the camera, or of the odometry's child frame.",
    "plan": "The path along which continuous mode makes views, with `follow_path_topic`.",
    "/tf": "Transforms: poses of the cameras at the stamps of their images, and of requests.",
    "/tf_static": "Transforms that never change.",
    "bond": "Heartbeats of this node and of Nav2's lifecycle manager, while the node is active (tutorials/nav2.md).",
    "~/request": "Asks for one view, for example from RViz's goal tool; the answer comes on the published topics.",
    # published
    "~/views": "Each synthesized view with its pose, scale, model, seed and source stamps.",
    "~/image": "RGB of the view, rgb8.",
    "~/depth": "Depth of the view, 32FC1, metres, NaN unknown (REP 118).",
    "~/confidence": "Confidence of the depth, 32FC1, 0 to 1.",
    "~/generated": "Mask of the view, mono8: 255 generated, 0 observed by at least one source view.",
    "~/camera_info": "Intrinsics of the view.",
    "~/points": "All views of the last answer in the map frame: x, y, z, rgb, confidence, generated. float32 is too "
    "coarse for a map frame with UTM coordinates; `~/views` keeps full poses.",
    "~/frusta": "Frusta of the key frames (green) and of the last answer (orange).",
    "~/reality_check": "Comparison of generated points with later observations of the same place: errors by age and "
    "distance, obstacles that do not exist or were missed, and the factor `trust`.",
    "~/map/observed": "Observed surfaces, with `map_enabled`: the fields of ~/points, and `stamp` (float64, seconds) "
    "of the newest image that shows a point. Sent after changes, at most `map_rate` times a second.",
    "~/map/generated": "Generated points where nothing was observed; their confidence fades with age.",
    "~/map/occupancy": "Grid of the map between `map_low` and `map_high`: -1 unknown, 0 observed free, 100 observed "
    "occupied, 1 to 99 generated. The whole grid is sent when its extent or frame changes, when most of its cells "
    "change, or when a subscriber joins.",
    "~/map/occupancy_updates": "The cells that changed since the last whole grid. Not sent while a subscriber takes "
    "`~/map/occupancy` without the updates.",
    "~/status": "The node's own status of /diagnostics, sent when its level or message changes.",
    "/diagnostics": "State of the node, its answers, and counts of every topic; see troubleshooting.md.",
    # services and actions
    "~/synthesize": "Makes views at poses in any TF frame.",
    "~/synthesize_trajectory": "Makes views along a path, with feedback and cancel; if it ends early, finished views "
    "are kept.",
    "~/follow": "Resumes (true) or pauses (false) continuous mode: views at `follow_offsets` or along a path, made "
    "while no request waits. They are published like answers, with the seed `follow_seed`.",
    "~/clear_context": "Deletes all key frames.",
    "~/clear_map": "Deletes both layers of the map.",
    "~/save_map": "Writes the map to a file in `map_folder`.",
    "~/load_map": "Replaces the map by one from `map_folder`. A damaged file changes nothing.",
}

CAMERA = {  # gld_sim_camera and gld_replay
    "NAME/image_raw": "Images, rgb8.",
    "NAME/image_raw/compressed": "Images as JPEG, with `compressed`.",
    "NAME/camera_info": "Intrinsics; the images are undistorted.",
    "NAME/depth/image_raw": "Depth, 32FC1, metres, if it is known and `publish_depth` is true.",
    "/tf": "map -> odom -> base_link of the robot; map -> base_link of a sequence.",
    "/tf_static": "base_link -> NAME_optical_frame.",
    "/clock": "The recorded time, with `stamps: recorded`.",
}

DASHBOARD = {  # while somebody has the page open; the topics of its parameter `node`
    "image": "Pictures of the cameras that the node listens to.",
    "gld_node/views": "Views: RGB, depth, mask.",
    "gld_node/points": "The cloud.",
    "gld_node/frusta": "Key frames and requests.",
    "gld_node/map/observed": "Observed layer of the map.",
    "gld_node/map/generated": "Generated layer of the map.",
    "gld_node/map/occupancy": "Grid of the map.",
    "gld_node/map/occupancy_updates": "Changes of the grid.",
    "/diagnostics": "Health of the node; subscribed even if nobody has the page open.",
}

EVERY_NODE = {
    "/rosout": "Log messages.",
    "/parameter_events": "Changes of parameters.",
    "/clock": "The time, with `use_sim_time`.",
    "~/describe_parameters": "Meaning and limits of parameters.",
    "~/get_parameter_types": "Types of parameters.",
    "~/get_parameters": "Values of parameters.",
    "~/list_parameters": "Names of parameters.",
    "~/set_parameters": "Sets live parameters, each by itself.",
    "~/set_parameters_atomically": "Sets live parameters, all or none.",
    "~/get_type_description": "Definition of a message type (Jazzy and newer).",
}

LIFECYCLE_NODE = {
    "~/change_state": "`configure` loads the model and warms it up, `activate` subscribes and answers, `cleanup` frees "
    "the model.",
    "~/get_state": "The present state.",
    "~/get_available_states": "All states.",
    "~/get_available_transitions": "Transitions from the present state.",
    "~/get_transition_graph": "All transitions.",
    "~/transition_event": "Every transition made.",
}

ROS_PARAMETERS = {
    "use_sim_time": "Take the time from /clock.",
    "start_type_description_service": "Serve ~/get_type_description.",
}
