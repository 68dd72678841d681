# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The QoS of /tf and /tf_static, as every ROS 2 program expects it."""

from rclpy.qos import DurabilityPolicy, QoSProfile

DYNAMIC = QoSProfile(depth=100)
# Late listeners get what each broadcaster sent last.
STATIC = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STATIC_LISTENER = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
