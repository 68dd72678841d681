# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The networks of Gen3R (arXiv 2601.04090): video VAE, geometry adapter, joint transformer, towers, heads."""
