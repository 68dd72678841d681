# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics, baselines, pictures and the `gld eval` protocol."""
