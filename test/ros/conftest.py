# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
import pytest
from dds import nothing_stays, ros
from robot import Robot

__all__ = ["nothing_stays", "ros"]


@pytest.fixture(scope="module")
def robot():
    robot = Robot()
    yield robot
    robot.close()
