# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Model folders and files: names on the Hub, formats, loading, checksums, conversion."""
