# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras, rays, SE(3), alignment, warping, points: pure numpy / torch."""
