# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The device of a model, its number formats, and which of its components are on the device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import nn

from gld_ros.errors import ModelError, OutOfMemory
from gld_ros.extras import require

SEQUENTIAL = "sequential"
#: Weights of linear layers in 8 bits (torchao): less memory and memory traffic, the arithmetic stays as it was.
QUANTIZED = ("int8", "fp8")


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
    """Tell whether `error`, of torch or numpy, says that a device or the machine has too little memory."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


@contextmanager
def in_memory(what: str, device: torch.device, forget: Callable[[], None]) -> Iterator[None]:
    """Turn a lack of memory into OutOfMemory that names `what`; `forget` and the device's cache give memory back."""
    try:
        yield
        return
    except Exception as error:
        if not out_of_memory(error):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
    # Outside `except`: the traceback would keep the tensors alive.
    forget()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    raise OutOfMemory(f"{what}: {reason}")


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


def check_offload(offload: str | None) -> None:
    """Raise ModelError for a mode that does not exist."""
    if offload not in (None, SEQUENTIAL):
        raise ModelError(f"offload is '{offload}', expected None or '{SEQUENTIAL}'")


def check_quantize(kind: str | None) -> None:
    """Raise ModelError for a kind that does not exist, or that cannot be had here."""
    if kind is None:
        return
    if kind not in QUANTIZED:
        raise ModelError(f"quantize is '{kind}', expected None or one of {', '.join(QUANTIZED)}")
    require("quantize", f"quantize='{kind}'", ModelError)


def quantize(networks: Iterable[nn.Module], kind: str) -> None:
    """In place, one scale a row. kind: "int8", or "fp8" (e4m3). Raises ModelError; see `check_quantize`."""
    check_quantize(kind)
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    config = Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
    for network in networks:
        quantize_(network, config, filter_fn=lambda module, _: isinstance(module, nn.Linear))


class Residency:
    """With `offload="sequential"` the weights stay in main memory; a component's come to the device while it works.

    Weights are only read here: leaving the device means dropping the copy. Without offload all are on the device.
    """

    def __init__(self, net: nn.Module, device: torch.device, offload: str | None = None):
        check_offload(offload)
        self.net, self.device, self.offload = net, device, offload
        #: Components whose weights are on the device now.
        self.resident = set() if offload else {name for name, _ in net.named_children()}
        if offload:
            for name, buffer in net.named_buffers(recurse=False):
                setattr(net, name, buffer.to(device))
        else:
            net.to(device)

    @contextmanager
    def at_work(self, name: str) -> Iterator[nn.Module]:
        """The component `name`, on the device until the block ends."""
        component = getattr(self.net, name)
        if not self.offload:
            yield component
            return
        tensors = [*component.parameters(), *component.buffers()]
        at_home = [tensor.data for tensor in tensors]
        self.resident.add(name)
        try:
            for tensor in tensors:
                tensor.data = tensor.data.to(self.device, non_blocking=True)
            yield component
        finally:
            for tensor, home in zip(tensors, at_home, strict=True):
                tensor.data = home
            self.resident.discard(name)
