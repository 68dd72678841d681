# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 side: conversions, TF, pairing, the worker, nodes. No mathematics of its own."""
