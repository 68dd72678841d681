# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo keeps the DDS domain that the environment names: one of this run."""

from gld_ros.ros.demo.processes import own_domain

own_domain()
