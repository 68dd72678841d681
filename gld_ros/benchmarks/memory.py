# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Memory that loading a model and one request need, measured in a process that does nothing else."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from gld_ros.benchmarks.requests import Shape, wall_tensors
from gld_ros.generators.gld_family import GLD
from gld_ros.pipeline.pipeline import GLDPipeline


def memory_of_request(folder: Path, shape: Shape, dtype: str, device: str, offload: str | None) -> dict[str, Any]:
    """Bytes before loading, after it, and at the peak of one request in two steps.

    Run it in a fresh process: the peak of resident memory (VmHWM of Linux) is the process's.
    """
    before = resident()
    pipe = GLDPipeline.from_pretrained(folder, device, dtype, offload, local_files_only=True)
    gc.collect()
    loaded, parameters = resident(), list(pipe.generator.net.parameters())
    report: dict[str, Any] = {
        "model": pipe.name,
        "device": device,
        "dtype": dtype,
        "offload": offload,
        "views": [shape.sources, shape.targets],
        "size": [shape.size[1], shape.size[0]],
        "parameters": sum(p.numel() for p in parameters),
        "weights_bytes": sum(p.numel() * p.element_size() for p in parameters),
        "resident_before": before["VmRSS"],
        "resident_loaded": loaded["VmRSS"],
        "peak_loading": loaded["VmHWM"],
    }
    GLD.of(pipe.generator).generate_tensors(*wall_tensors(shape, pipe.device), steps=2)
    report["peak_resident"] = resident()["VmHWM"]
    report["peak_over_weights"] = report["peak_resident"] / report["weights_bytes"]
    if pipe.device.type == "cuda":
        report["peak_allocated"] = torch.cuda.max_memory_allocated()
        report["peak_reserved"] = torch.cuda.max_memory_reserved()
    return report


def resident() -> dict[str, int]:
    """VmRSS and VmHWM of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return {name: 1024 * int(kilobytes) for name, kilobytes in values.items()}
