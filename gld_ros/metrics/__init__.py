# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of images, depth, cameras and uncertainty."""
