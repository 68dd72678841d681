# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes that stand in for a camera: replay and simulation."""
