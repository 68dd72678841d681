# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`make docs`: pages from what the nodes declare."""
