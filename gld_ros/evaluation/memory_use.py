# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Memory that loading a model and one request need, measured in a process that does nothing else."""

from __future__ import annotations

import gc
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gld_ros.files import sha256, write_text
from gld_ros.generators.gld_family import GLD
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import look_at
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gld import stored_dtype
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.plain import to_dict
from gld_ros.weights.folder import STATISTICS, on_meta
from gld_ros.weights.layout import CONFIG, DTYPES
from gld_ros.weights.tensor_files import write_tensors


def write_random_model(config: ModelConfig, folder: Path, dtype: str) -> None:
    """A model folder of ours with random weights: memory and speed do not depend on what they are.

    They are about as large as trained ones, so that numbers stay finite and outputs follow their inputs.
    """
    generator = torch.Generator().manual_seed(0)
    net = on_meta(config)
    tensors = {STATISTICS: {k: torch.ones(v.shape) for k, v in net.named_buffers(recurse=False)}}
    tensors |= {name: component.state_dict() for name, component in net.named_children()}
    files = {}
    for component, wanted in tensors.items():
        prefix = "" if component == STATISTICS else f"{component}."
        made = {}
        for key, like in wanted.items():
            value = like if component == STATISTICS else random_weight(key, like, generator)
            made[prefix + key] = value.to(stored_dtype(key, value, DTYPES[dtype]))
        path = folder / f"{component}.safetensors"
        write_tensors(path, made)
        files[path.name] = {"size": path.stat().st_size, "sha256": sha256(path)}
    description = {"model": to_dict(config), "dtype": dtype, "source": "random weights", "files": files}
    write_text(folder / CONFIG, json.dumps(description, indent=1) + "\n")


def random_weight(key: str, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Matrices and kernels that keep the size of what they are applied to, norms about 1, small biases."""
    value = torch.randn(like.shape, generator=generator)
    if like.ndim > 1:
        return 0.7 * value / math.sqrt(like[0].numel())
    if key.endswith((".W", "gamma")):  # frequencies of the time embedding; scales of the residual branches
        return value if key.endswith(".W") else 0.5 + 0.1 * value
    return 1 + 0.05 * value if key.endswith("weight") else 0.02 * value


def memory_of_request(
    folder: Path, sources: int, targets: int, size: tuple[int, int], dtype: str, device: str, offload: str | None
) -> dict[str, Any]:
    """Bytes before loading, after it, and at the peak of one request in two steps; size: (H, W).

    Run it in a fresh process: the peak of resident memory (VmHWM of Linux) is the process's.
    """
    before = resident()
    pipe = GLDPipeline.from_pretrained(folder, device, dtype, offload, local_files_only=True)
    gc.collect()
    report: dict[str, Any] = {
        "model": pipe.name,
        "device": device,
        "dtype": dtype,
        "offload": offload,
        "views": [sources, targets],
        "size": [size[1], size[0]],
        "parameters": sum(p.numel() for p in pipe.generator.net.parameters()),
        "weights_bytes": sum(p.numel() * p.element_size() for p in pipe.generator.net.parameters()),
        "resident_before": before["VmRSS"],
        "resident_loaded": resident()["VmRSS"],
        "peak_loading": resident()["VmHWM"],
    }
    images, K, c2w = made_up_request(sources, targets, size)
    GLD.of(pipe.generator).generate_tensors(images, K, c2w, steps=2)
    report["peak_resident"] = resident()["VmHWM"]
    report["peak_over_weights"] = report["peak_resident"] / report["weights_bytes"]
    if pipe.device.type == "cuda":
        report["peak_allocated"] = torch.cuda.max_memory_allocated()
        report["peak_reserved"] = torch.cuda.max_memory_reserved()
    return report


def made_up_request(
    sources: int, targets: int, size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (1, S, 3, H, W) of noise, K (1, V, 3, 3) and c2w (1, V, 4, 4) around a point."""
    H, W = size
    eyes = [np.array([np.sin(0.1 * k), -np.cos(0.1 * k), 0.0]) for k in range(sources + targets)]
    K = np.array([[W, 0, W / 2], [0, W, H / 2], [0, 0, 1.0]])
    cameras = [Camera(K, look_at(eye, np.zeros(3)), W, H) for eye in eyes]
    stacked = [
        torch.tensor(np.stack([getattr(c, k) for c in cameras]), dtype=torch.float32)[None] for k in ("K", "c2w")
    ]
    images = torch.rand(1, sources, 3, H, W, generator=torch.Generator().manual_seed(0))
    return images, stacked[0], stacked[1]


def resident() -> dict[str, int]:
    """VmRSS and VmHWM of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return {name: 1024 * int(kilobytes) for name, kilobytes in values.items()}
