# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every test run has its own DDS domain, so that neither other tests nor a robot in the network interfere."""

import os
from pathlib import Path

os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(Path(__file__).parents[2] / "config" / "fastdds.xml"))

import pytest
import rclpy


@pytest.fixture(scope="session", autouse=True)
def ros():
    if not rclpy.ok():  # by other tests of this session
        rclpy.init()
    yield
    rclpy.try_shutdown()
