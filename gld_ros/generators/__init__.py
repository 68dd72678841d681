# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How views are made: `base` is the seam, and each family of models has its own files."""
