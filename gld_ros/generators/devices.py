# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a model runs, and in what numbers."""

from __future__ import annotations

import math
import time
from functools import lru_cache

import torch

from gld_ros.errors import ModelError
from gld_ros.networks.gld import GLDNetworks


def usable_device(name: str | None) -> torch.device:
    """The device of that name, by default the best there is. Raises ModelError for one that is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"device is '{name}', expected cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"device is '{name}', expected cpu, cuda or cuda:N")
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ModelError(f"device '{name}' is not there: torch {torch.__version__} finds {found} CUDA devices")
    return device


def out_of_memory(error: Exception) -> bool:
    """Whether `error`, of torch or numpy, says that a device or the machine has too little memory."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def compute_dtype(net: GLDNetworks, device: torch.device) -> torch.dtype:
    """bfloat16 for weights in bfloat16, and for mini wherever it is fast; float32 otherwise."""
    if any(p.dtype == torch.bfloat16 for p in net.parameters()):
        return torch.bfloat16
    return torch.bfloat16 if net.config.warps and has_bfloat16(device) else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether bfloat16 is fast here: GPUs that support it, CPUs with AMX or with a fast AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)():
        return True
    return getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)() and cpu_gains_by_bfloat16()


@lru_cache(maxsize=1)
def cpu_gains_by_bfloat16() -> bool:
    """Tell whether a layer of mini's size takes clearly less time in bfloat16: with AVX-512 BF16 some CPUs take more.

    Measured once a process, in some milliseconds; the least of several times does not depend on what else runs.
    """
    seconds = {torch.float32: math.inf, torch.bfloat16: math.inf}
    layers = {dtype: (torch.ones(648, 192, dtype=dtype), torch.ones(576, 192, dtype=dtype)) for dtype in seconds}
    for _ in range(12):
        for dtype, (x, weight) in layers.items():
            began = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - began)
    return seconds[torch.bfloat16] < 0.8 * seconds[torch.float32]
