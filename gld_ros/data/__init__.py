# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Posed images: sequences (folders, rosbag2, procedural rooms), and clips of many data sets for training."""
