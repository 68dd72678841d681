# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The networks: one class a role, every published size an instance of it."""
