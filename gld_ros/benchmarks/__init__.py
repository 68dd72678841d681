# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of `gld bench`: latency, quality of settings, scaling, the ROS node, and the official code beside ours."""
