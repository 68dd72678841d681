# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A map with two layers, observed and generated, that never mix. No ROS in here."""
