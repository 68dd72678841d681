# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
import pytest
from dds import nothing_stays, ros
from robot import Robot, load_once

from gld_ros.ros.node import session

__all__ = ["nothing_stays", "ros"]


@pytest.fixture(scope="module")
def robot():
    robot = Robot()
    yield robot
    robot.close()


@pytest.fixture(scope="session", autouse=True)
def one_model():
    """Nodes in this process load mini once."""
    patch = pytest.MonkeyPatch()
    patch.setattr(session, "load", load_once)
    yield
    patch.undo()
