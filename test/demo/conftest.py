# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every test run has its own DDS domain, so that neither other tests nor a robot in the network interfere."""

import os

os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
