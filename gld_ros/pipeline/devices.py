# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a model runs, and in what numbers."""

from __future__ import annotations

import torch

from gld_ros.errors import ModelError
from gld_ros.models.gld import GLDNetworks


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
    """Whether bfloat16 is fast here: GPUs that support it, CPUs with AMX or AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
