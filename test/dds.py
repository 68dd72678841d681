# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""For tests that talk over DDS: a domain of this run, so that neither other tests nor a robot in the network interfere,
and rclpy."""

import time

import pytest
import rclpy

from gld_ros.ros.demo.processes import own_domain

own_domain()


@pytest.fixture(scope="session", autouse=True)
def ros():
    if not rclpy.ok():  # by other tests of this session
        rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="module", autouse=True)
def nothing_stays(ros):
    """A node that a test leaves in the graph is taken for the next one of its name."""
    yield
    observer = rclpy.create_node("observer", enable_rosout=False)
    end = time.monotonic() + 40  # after 20 s DDS forgets a process that was killed
    while len(names := observer.get_node_names()) > 1 and time.monotonic() < end:
        time.sleep(0.1)
    observer.destroy_node()
    assert names == ["observer"], f"left in the graph: {names}"
