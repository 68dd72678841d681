# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lifecycle cycles of one node: its memory does not grow.

Their number is the environment variable GLD_CYCLES; `make cycles` runs 1,000. The model is the light one of these
tests, or that of GLD_CYCLES_MODEL.
"""

import json
import os
import time

import numpy as np
from patient import Patient, Response

from gld_ros.benchmarks.process_use import resident_bytes, robust_slope

CYCLES = int(os.environ.get("GLD_CYCLES", "20"))
SETTLED = 0.3  # share of the cycles after which allocators and caches have their size
GROWTH = 100_000  # bytes a cycle; one lost picture of the test is 9 kB, one lost model 100 times this


def test_lifecycle_cycles(tmp_path):
    """configure (loads and warms up the model), activate, a frame, a request, deactivate, cleanup."""
    patient = Patient(tmp_path, model=os.environ.get("GLD_CYCLES_MODEL", "model"))
    memory, began = [], time.monotonic()
    try:
        for cycle in range(CYCLES):
            if cycle:
                assert patient.restart(1, 3) == [True, True]
            patient.send()
            patient.wait(lambda: len(patient.node.key_frames), "a key frame")
            if cycle % 10 == 0:
                answer = patient.ask()
                assert answer.error_code in (Response.NONE, Response.SCALE_UNKNOWN), answer.error_message
            assert patient.restart(4, 2) == [True, True]
            assert patient.ask().error_code == Response.NOT_ACTIVE
            memory.append(resident_bytes(os.getpid()))
    finally:
        patient.close()
    settled = memory[int(SETTLED * CYCLES) :]
    slope = robust_slope(np.arange(len(settled), dtype=np.float64), np.array(settled, dtype=np.float64))
    figures = {
        "what": "cycles",
        "cycles": CYCLES,
        "every_50_mb": [round(size / 1e6, 2) for size in memory[::50]],
        "seconds": round(time.monotonic() - began, 1),
        "first_mb": round(memory[0] / 1e6, 1),
        "settled_mb": round(settled[0] / 1e6, 1),
        "last_mb": round(memory[-1] / 1e6, 1),
        "slope_bytes_a_cycle": slope,
    }
    if os.environ.get("GLD_FUZZ_REPORT"):
        with open(os.environ["GLD_FUZZ_REPORT"], "a") as report:
            report.write(json.dumps(figures) + "\n")
    assert CYCLES < 100 or slope["low"] < GROWTH, figures
    assert memory[-1] - settled[0] < max(50e6, CYCLES * GROWTH), figures
