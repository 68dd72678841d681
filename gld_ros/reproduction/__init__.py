# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""GLD's published claims in miniature: variants trained alike on procedural rooms, and the paper's tables of them."""
