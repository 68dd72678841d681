# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How views are made: one family of models a file."""
