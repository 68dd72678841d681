# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The flow-matching path, its time grid and samplers."""
