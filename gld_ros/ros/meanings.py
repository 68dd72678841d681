# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One line for every topic, service and action of this package's nodes, for docs/interfaces.md.

Names as in `graph.Endpoint`; NAME stands for the name of a camera. A test fails where one is missing or too much.
"""

GLD_NODE = {
    # subscribed
    "image": "Images, parameter `image_topics`: every encoding of `cv_bridge` that is a colour or grey one. The frame "
    "is the camera's optical one (REP 103), the stamp must not be zero.",
    "image/compressed": "The same, where the name in `image_topics` ends in `/compressed`.",
    "camera_info": "Of the same stamps, parameter `camera_info_topics`. K and D for raw images (plumb_bob, "
    "rational_polynomial, equidistant), P with `rectified`.",
    "pose": "Instead of TF, with `pose_source`: the pose of the camera, or of the odometry's child frame.",
    "plan": "A path, with `follow_path_topic`: continuous mode looks from places ahead on it.",
    "/tf": "Poses of the cameras at the stamps of their images, and of requests.",
    "/tf_static": "The same: what never moves.",
    "bond": "Heartbeats of this node and of Nav2's lifecycle manager, while the node is active (tutorials/nav2.md).",
    "~/request": "Asks for one view, e.g. from RViz's goal tool; the answer is on the published topics.",
    # published
    "~/views": "Each synthesized view with its pose, scale, model, seed and source stamps.",
    "~/image": "Its colour, rgb8.",
    "~/depth": "Its depth, 32FC1, metres, NaN unknown (REP 118).",
    "~/confidence": "Confidence in the depth, 32FC1, 0 to 1.",
    "~/generated": "mono8: 255 generated, 0 seen by some source view.",
    "~/camera_info": "Its intrinsics.",
    "~/points": "All views of the last answer in the map frame: x, y, z, rgb, confidence, generated. float32 is too "
    "coarse for a map frame with UTM coordinates; `~/views` keeps full poses.",
    "~/frusta": "Frusta of the key frames (green) and of the last answer (orange).",
    "~/reality_check": "What was generated against what is observed there now: errors by age and distance, "
    "obstacles that are not there or were missed, and the trust that generated pixels get.",
    "~/map/observed": "Surfaces that were observed, with `map_enabled`: as ~/points, and `stamp` (float64, seconds) of "
    "the newest image behind a point. Sent when something changed, at most `map_rate` times a second.",
    "~/map/generated": "What was generated where nothing was observed; the confidence fades with age.",
    "~/map/occupancy": "Between `map_low` and `map_high`: -1 unknown, 0 observed free, 100 observed occupied; 1 to 99 "
    "generated, which only adds. The whole grid where its extent or frame changes, most cells do or somebody joins.",
    "~/map/occupancy_updates": "Else the cells that changed since; none while somebody takes `~/map/occupancy` alone.",
    "~/status": "Its own part of /diagnostics, latched: sent when level or message changes.",
    "/diagnostics": "The node's state and answers, and counts of every topic; see troubleshooting.md.",
    # services and actions
    "~/synthesize": "Views at poses in any TF frame.",
    "~/synthesize_trajectory": "The same along a path, with feedback and cancel; a path that ends early keeps its "
    "finished views.",
    "~/follow": "Resumes (true) or pauses (false) continuous mode: views at `follow_offsets` or along a path, made "
    "while no request waits and published as answers are, with the seed `follow_seed`.",
    "~/clear_context": "Forgets all key frames.",
    "~/clear_map": "Forgets both layers of the map.",
    "~/save_map": "Writes the map to a file in `map_folder`.",
    "~/profile": "Records the next request, kernel by kernel, into `profile_folder`, for chrome://tracing or Perfetto.",
    "~/load_map": "Replaces the map by one from `map_folder`; a damaged file changes nothing.",
}

CAMERA = {  # gld_sim_camera and gld_replay
    "NAME/image_raw": "Images, rgb8.",
    "NAME/image_raw/compressed": "JPEG, with `compressed`.",
    "NAME/camera_info": "Intrinsics; the images are undistorted.",
    "NAME/depth/image_raw": "Depth, 32FC1, metres, where it is known and `publish_depth` is true.",
    "/tf": "map -> odom -> base_link of the robot; map -> base_link of a sequence.",
    "/tf_static": "base_link -> NAME_optical_frame.",
    "/clock": "The recorded time, with `stamps: recorded`.",
}

DASHBOARD = {  # while somebody has the page open; the topics of its parameter `node`
    "image": "Pictures of the cameras that the node listens to.",
    "gld_node/views": "Views: colour, depth, mask.",
    "gld_node/points": "The cloud.",
    "gld_node/frusta": "Key frames and requests.",
    "gld_node/map/observed": "The map.",
    "gld_node/map/generated": "The same, of what was generated.",
    "gld_node/map/occupancy": "Its grid.",
    "gld_node/map/occupancy_updates": "The same, what changed.",
    "/diagnostics": "The node's health; always.",
}

EVERY_NODE = {
    "/rosout": "Log messages.",
    "/parameter_events": "Changes of parameters.",
    "/clock": "The time, with `use_sim_time`.",
    "~/describe_parameters": "Meaning and limits of parameters.",
    "~/get_parameter_types": "Their types.",
    "~/get_parameters": "Their values.",
    "~/list_parameters": "Their names.",
    "~/set_parameters": "Sets live ones, each by itself.",
    "~/set_parameters_atomically": "Sets live ones, all or none.",
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
