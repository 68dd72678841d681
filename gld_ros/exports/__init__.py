# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Made scenes as files of other tools: videos, GLB, COLMAP, cameras; one file a format, listed in `formats.py`."""
