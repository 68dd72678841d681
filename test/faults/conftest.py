# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One node for all faults, that it should survive."""

import pytest
from dds import nothing_stays, ros
from patient import Patient

__all__ = ["nothing_stays", "ros"]


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """An active node with three key frames."""
    patient = Patient(tmp_path_factory.mktemp("failures"))
    try:
        patient.good()
        yield patient
    finally:
        patient.close()
