# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The memory that a model takes, estimated before anything is loaded.

Weights: parameters times bytes. Activations: of the stage that needs most, counted as tensors that live at the same
time in the widest place of one block, per token (transformers) or per pixel (geometry head), in bytes of the dtype;
camera maths and sampling states in float32. Attention needs no (T, T) matrix, except for bfloat16 on a CPU, where it is
written out (layers.attend). Weights count as resident although a CPU may map them from their files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import psutil
import torch

from gld_ros.errors import OutOfMemory
from gld_ros.networks.configs import DiTConfig, ModelConfig
from gld_ros.networks.dit import swiglu_hidden
from gld_ros.weights.folder import STATISTICS, on_meta
from gld_ros.weights.layout import DTYPES

#: (H, W) and (sources, targets) of the requests that `gld models info` speaks of.
REQUESTS = (((280, 504), (2, 1)), ((504, 504), (2, 6)))
F32 = 4


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes. weights: by component; activations: by the components at work ("a", "a+b", "" for none); offload: only
    those at work are on the device."""

    weights: dict[str, int]
    activations: dict[str, int]
    offload: bool = False

    @property
    def peak(self) -> int:
        """On the device, weights and activations."""
        if self.offload:
            return max(self.stages.values())
        return sum(self.weights.values()) + max(self.activations.values())

    @property
    def stages(self) -> dict[str, int]:
        """On the device, by the components at work, with offload."""
        return {
            stage: sum(size for name, size in self.weights.items() if name in stage.split("+")) + needed
            for stage, needed in self.activations.items()
        }

    @property
    def host(self) -> int:
        """In main memory for the weights that wait there, with offload to another device."""
        return sum(self.weights.values()) if self.offload else 0


@lru_cache(maxsize=4)
def parameters(config: ModelConfig) -> Mapping[str, int]:
    """Parameters of every component, in the order of `GLDNetworks`, counted without memory; and the statistics."""
    net = on_meta(config)
    counts = {name: sum(p.numel() for p in child.parameters()) for name, child in net.named_children()}
    return MappingProxyType(counts | {STATISTICS: sum(b.numel() for b in net.buffers(recurse=False))})


def estimate(
    config: ModelConfig,
    dtype: torch.dtype = torch.float32,
    size: tuple[int, int] = REQUESTS[0][0],
    views: tuple[int, int] = REQUESTS[0][1],
    offload: bool = False,
    device: str = "cpu",
) -> MemoryEstimate:
    """Memory of a request with views (sources, targets) of size (H, W).

    device: "cpu" or "cuda"; with `offload` the weights wait in main memory.
    """
    byte = dtype.itemsize
    weights = {name: count * (F32 if name == STATISTICS else byte) for name, count in parameters(config).items()}
    V, (H, W), encoder, rgb, dpt, matching = sum(views), size, config.encoder, config.rgb, config.dpt, config.matching
    N = (H // encoder.patch) * (W // encoder.patch)
    C, S = encoder.channels, encoder.specials
    written_out = device == "cpu" and dtype == torch.bfloat16
    branches = 2 if device == "cuda" and config.flow.guidance_scale > 1 else 1  # of guidance, evaluated together

    def attention(sequences: int, tokens: int, heads: int) -> int:
        """The (T, T) matrices, scores and softmax, where attention is written out."""
        return 2 * sequences * heads * tokens * tokens * byte if written_out else 0

    def stage(dit: DiTConfig) -> int:
        T = branches * V * (dit.special_tokens + N)

        def block(width: int, heads: int, others: int) -> int:
            """others: widths that live beside x: the condition and the modulation made of it, in the head."""
            # x and its norm; q k v, and once more with cameras applied, with float32 temporaries of one of them.
            mixing = T * width * ((others + 9) * byte + 3 * F32) + attention(1, T, heads)
            return max(mixing, T * ((others + 3) * width + 4 * swiglu_hidden(width, dit.mlp_ratio)) * byte)

        inputs = T * 4 * C * byte  # [condition | noise] for both stacks
        return inputs + max(block(dit.width, dit.heads, 0), block(dit.head_width, dit.head_heads, 7))

    T, width = V * (S + N), encoder.width
    # x, its norm, q k v, output; q and k rotated in float32 with temporaries. Or x, its norm, two hidden ones of 4 C.
    block = max(T * width * (6 * byte + 4 * F32) + attention(1, T, encoder.heads), T * width * 10 * byte)
    painted = V * (1 + N)
    mixing = painted * 7 * rgb.width * byte + attention(V, 1 + N, rgb.heads)
    needed = {
        "encoder": block + 4 * T * C * byte,  # and the levels
        "rgb": painted * 4 * C * byte + max(mixing, painted * (2 * rgb.width + 2 * rgb.hidden) * byte),
        "level1": stage(config.level1),
        "level0": stage(config.level0),
    }
    if dpt is not None:
        # Fusion at 8 times the patch grid: x, its activation, two convolutions, the finer laterals. Then half the
        # features at the images' resolution: resized, with positions, and what the convolution makes of it.
        fusion = V * dpt.features * byte * (5 * 64 * N + 2 * 16 * N)
        needed["dpt"] = max(fusion, V * H * W * byte * (3 * dpt.features // 2 + 2 * dpt.hidden))
    if matching is not None:
        # Features sampled at every plane, in float32, of all sources at half the images' resolution; and once more.
        needed["matching"] = 2 * views[0] * matching.features * matching.planes * H * W // 4 * F32
    # Kept throughout: all sampling states and latents, the levels as the decoders read them, camera maps.
    kept = V * (S + N) * C * (6 * F32 + 4 * byte) + V * 2 * config.level1.camera_channels * H * W * F32
    return MemoryEstimate(weights, {name: kept + count for name, count in needed.items()}, offload)


def describe(config: ModelConfig) -> dict:
    """Counts, bytes of the weights and estimated peaks as plain JSON values, for `gld models info`."""
    counts = {name: count for name, count in parameters(config).items() if name != STATISTICS}
    # mini's working size.
    small = (config.encoder.patch * 9, config.encoder.patch * 12)
    requests = ((small, (2, 1)),) if config.warps else REQUESTS
    places = [("cuda", False), ("cuda", True), ("cpu", False)]
    peaks = [
        {
            "size": size,
            "views": views,
            "dtype": name,
            "device": device,
            "offload": offload,
            "bytes": estimate(config, dtype, size, views, offload, device).peak,
        }
        for size, views in requests
        for name, dtype in DTYPES.items()
        for device, offload in places
    ]
    return {
        "model": config.name,
        "parameters": counts,
        "total": sum(counts.values()),
        "weights": {name: sum(estimate(config, dtype).weights.values()) for name, dtype in DTYPES.items()},
        "peaks": peaks,
    }


def check_fits(needed: MemoryEstimate, device: torch.device | str) -> None:
    """Raise OutOfMemory with the estimate if the device, or with offload main memory, has not that much free."""
    device = torch.device(device)
    places = [("main memory", needed.host or needed.peak, available())]
    if device.type == "cuda":
        places = [(str(device), needed.peak, torch.cuda.mem_get_info(device)[0])]
        places += [("main memory", needed.host, available())] if needed.offload else []
    for place, wanted, free in places:
        if wanted > free:
            weights, largest = sum(needed.weights.values()), max(needed.activations.values())
            advice = "" if needed.offload or device.type == "cpu" else '; offload="sequential" needs less'
            raise OutOfMemory(
                f"the model needs about {wanted / 1e9:.1f} GB of {place} ({weights / 1e9:.1f} GB of weights, up to "
                f"{largest / 1e9:.1f} GB for a small request), {free / 1e9:.1f} GB are free{advice}"
            )


def available(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of main memory that a process can still get: MemAvailable (elsewhere than on Linux the physical), or what a
    container's limit leaves (cgroup v2) if that is less."""
    free = psutil.virtual_memory().available
    try:
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        cache = int(counts["inactive_file"])  # counts as used, but goes where memory is needed
    except (OSError, ValueError, KeyError):  # no container, or "max"
        return free
    return min(free, limit - used + cache)
