# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-in for ROS 2's cv_bridge: sensor_msgs Image / CompressedImage to and from numpy arrays.

The behaviour of each function is stated by test/conformance/test_cv_bridge.py.
"""

from cv_bridge.bridge import CvBridge, CvBridgeError

__all__ = ["CvBridge", "CvBridgeError"]
