# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One node for all faults, that it should survive; a DDS domain of this run."""

import os
from pathlib import Path

os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(Path(__file__).parents[2] / "config" / "fastdds.xml"))

import pytest
import rclpy
from patient import Patient


@pytest.fixture(scope="session", autouse=True)
def ros():
    if not rclpy.ok():  # by other tests of this session
        rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """An active node with three key frames."""
    patient = Patient(tmp_path_factory.mktemp("failures"))
    try:
        patient.good()
        yield patient
    finally:
        patient.close()
