# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lifecycle cycles of one node: its memory does not grow, but for what a bare node of rclpy grows by.

Their number is the environment variable GLD_CYCLES; `make cycles` runs 1,000, with PYTHONMALLOC=malloc, so that the
heap is all of the memory. The model is the light one of these tests, or that of GLD_CYCLES_MODEL.
"""

import gc
import os
import time

import numpy as np
import psutil
from bare import BareNode
from patient import Patient, Response, report

from gld_ros.benchmarks.process_use import private_bytes, robust_slope
from gld_ros.ros.node.node import GLDNode

CYCLES = int(os.environ.get("GLD_CYCLES", "20"))
SETTLED = 0.4  # share of the cycles after which caches and DDS's histories are full; /rosout keeps 1,000 lines
# Bytes a cycle: a message is more, a picture of the test 9 kB. Before all is settled a lost model would show.
GROWTH = 1000 if CYCLES >= 1000 else 100_000


def test_lifecycle_cycles(tmp_path):
    """configure (loads and warms up the model), activate, a frame, a request, deactivate, cleanup."""
    began = time.monotonic()
    memory = {kind.__name__: cycles(tmp_path, kind) for kind in (GLDNode, BareNode)}
    node, bare = memory.values()
    slopes = {name: settled_slope(found[:, 0]) for name, found in memory.items()}
    slopes["difference"] = difference = settled_slope(node[:, 0] - bare[:, 0])
    figures = {
        "what": "cycles",
        "cycles": CYCLES,
        "seconds": round(time.monotonic() - began, 1),
        "python_malloc": os.environ.get("PYTHONMALLOC", "pymalloc"),
        "heap_slope_bytes_a_cycle": slopes,
        "private_slope_bytes_a_cycle": {name: settled_slope(found[:, 1]) for name, found in memory.items()},
        "within_noise": bool(difference["low"] <= 0 <= difference["high"]),
        "every_50_heap_and_private_mb": {
            name: (found[:: 50 if CYCLES > 50 else 1] / 1e6).round(3).tolist() for name, found in memory.items()
        },
    }
    report(figures)
    assert difference["low"] < GROWTH, figures


def cycles(folder, kind):
    """(CYCLES, 2) heap and private bytes after each cycle of a node of that kind."""
    patient = Patient(folder, kind, model=os.environ.get("GLD_CYCLES_MODEL", "model"))
    memory = np.zeros((CYCLES, 2))
    gc.freeze()  # torch's many objects need not be looked at again and again
    try:
        for cycle in range(CYCLES):
            if cycle:
                assert patient.restart(1, 3) == [True, True]
            patient.send()
            patient.wait(lambda: len(patient.gld_node.key_frames), "a key frame")
            if cycle % 10 == 0:
                answer = patient.ask()
                assert answer.error_code in (Response.NONE, Response.SCALE_UNKNOWN), answer.error_message
            assert patient.restart(4, 2) == [True, True]
            assert patient.ask().error_code == Response.NOT_ACTIVE
            patient.forget()
            gc.collect()  # what waits for the collector is no leak
            heap = psutil.heap_info()
            memory[cycle] = heap.heap_used + heap.mmap_used, private_bytes(os.getpid())
    finally:
        gc.unfreeze()
        patient.close()
    return memory


def settled_slope(values):
    """Bytes a cycle of what was measured after each."""
    settled = values[int(SETTLED * CYCLES) :]
    return robust_slope(np.arange(len(settled), dtype=np.float64), settled)
