# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets, one module each; `gld_ros.data.scenes.KINDS` names them."""
