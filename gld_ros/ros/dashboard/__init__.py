# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The web page of `gld dashboard`: from plain state to a page in the browser. No ROS here."""
