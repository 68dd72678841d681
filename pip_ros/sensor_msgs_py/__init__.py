# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-in for ROS 2's sensor_msgs_py: the module point_cloud2."""
