# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Small models, folders, data and servers that tests are made of."""
