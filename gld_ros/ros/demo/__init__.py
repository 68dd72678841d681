# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`make demo`: a simulated robot, the node, a sheet."""
