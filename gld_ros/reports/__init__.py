# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tables, plots, sheets and pages that people read."""
