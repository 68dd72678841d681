# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""For tests that talk over DDS: a domain of this run, so that neither other tests nor a robot in the network interfere,
and rclpy."""

import pytest
import rclpy

from gld_ros.ros.processes import own_domain

own_domain()


@pytest.fixture(scope="session", autouse=True)
def ros():
    if not rclpy.ok():  # by other tests of this session
        rclpy.init()
    yield
    rclpy.try_shutdown()
