# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One line for every topic, service and action of the other nodes, for docs/interfaces.md; gld_node's are in
gld_ros/ros/node/topics.py.

Names as in `graph.Endpoint`; NAME stands for the name of a camera. A test fails where one is missing or too much.
"""

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
