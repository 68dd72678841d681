# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a robot remembers: key frames, the map, how much generated views are worth."""
