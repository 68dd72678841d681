# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much memory a model takes, estimated before anything is loaded.

A documented, simple model. Weights: parameters times bytes. Activations: of the stage that needs most, counted as
tensors that live at the same time in the widest place of one block, per token (transformers) or per pixel (geometry
head), in bytes of the dtype; camera maths and sampling states in float32. Attention needs no (T, T) matrix, except for
bfloat16 on a CPU, where it is written out (layers.attend). Weights count as resident although a CPU may map them from
their files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn

from gld_ros.errors import OutOfMemory
from gld_ros.networks.camera_heads import CameraDecoder, CameraEncoder
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.dpt import DualDPT
from gld_ros.networks.encoder import GeometryEncoder
from gld_ros.networks.released import DA3_BASE, DA3_BASE_HEAD, VGGT_1B
from gld_ros.weights.folder import STATISTICS, on_meta
from gld_ros.weights.layout import DTYPES
from gld_ros.weights.sizes import swiglu_hidden

#: (H, W) and (sources, targets) of the requests that `gld models info` speaks of.
REQUESTS = (((280, 504), (2, 1)), ((504, 504), (2, 6)))
F32 = 4


@dataclass(frozen=True)
class Estimate:
    """Bytes. weights: by component; activations: by the component at work; offload: one component at a time."""

    weights: dict[str, int]
    activations: dict[str, int]
    offload: bool = False

    @property
    def peak(self) -> int:
        """On the device, weights and activations."""
        if self.offload:
            return max(self.weights[name] + needed for name, needed in self.activations.items())
        return sum(self.weights.values()) + max(self.activations.values())

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
) -> Estimate:
    """Of a request of views (sources, targets) of size (H, W). device: "cpu" or "cuda", where offloaded weights go."""
    written_out = device == "cpu" and dtype == torch.bfloat16
    byte = dtype.itemsize
    weights = {name: count * (F32 if name == STATISTICS else byte) for name, count in parameters(config).items()}
    V = sum(views)
    H, W = size
    N = (H // config.encoder.patch) * (W // config.encoder.patch)
    batch = 2 if device == "cuda" and config.flow.guidance_scale > 1 else 1  # both branches together, see Sampler
    needed = {
        "encoder": _encoder(config, V, N, byte, written_out),
        "rgb": _rgb(config, V, N, byte, written_out),
        "level1": _dit(config, "level1", batch * V, N, byte, written_out),
        "level0": _dit(config, "level0", batch * V, N, byte, written_out),
    }
    if config.dpt is not None:
        needed["dpt"] = _dpt(config, V, N, H * W, byte)
    if config.matching is not None:
        # Features sampled at every plane, in float32, of all sources at half the images' resolution; and once more.
        needed["matching"] = 2 * views[0] * config.matching.features * config.matching.planes * H * W // 4 * F32
    # What stays throughout: all sampling states and latents, the levels as the decoders read them, camera maps.
    C, S = config.encoder.channels, config.encoder.specials
    kept = V * (S + N) * C * (6 * F32 + 4 * byte) + V * 2 * config.level1.camera_channels * H * W * F32
    return Estimate(weights, {name: kept + count for name, count in needed.items()}, offload)


def _attention(sequences: int, tokens: int, heads: int, byte: int, written_out: bool) -> int:
    """Bytes of the (T, T) matrices, scores and softmax, where attention is written out."""
    return 2 * sequences * heads * tokens * tokens * byte if written_out else 0


def _encoder(config: ModelConfig, V: int, N: int, byte: int, written_out: bool) -> int:
    encoder = config.encoder
    T, C = V * (encoder.specials + N), encoder.width
    # x, its norm, q k v, output; q and k rotated in float32 with temporaries. Or x, its norm, two hidden ones of 4 C.
    block = max(T * C * (6 * byte + 4 * F32) + _attention(1, T, encoder.heads, byte, written_out), T * C * 10 * byte)
    return block + 4 * T * encoder.channels * byte  # and the levels


def _rgb(config: ModelConfig, V: int, N: int, byte: int, written_out: bool) -> int:
    rgb = config.rgb
    T = V * (1 + N)
    attention = T * 7 * rgb.width * byte + _attention(V, 1 + N, rgb.heads, byte, written_out)
    mlp = T * (2 * rgb.width + 2 * rgb.hidden) * byte
    joined = T * 4 * config.encoder.channels * byte
    return joined + max(attention, mlp)


def _dit(config: ModelConfig, stage: str, V: int, N: int, byte: int, written_out: bool) -> int:
    dit = getattr(config, stage)
    T = V * (dit.special_tokens + N)

    def block(width: int, heads: int, others: int) -> int:
        """others: widths that live beside x: the condition and the modulation made of it, in the head."""
        # x and its norm; q k v, and once more with cameras applied, with float32 temporaries of one of them.
        attention = T * width * ((others + 9) * byte + 3 * F32) + _attention(1, T, heads, byte, written_out)
        hidden = swiglu_hidden(width, dit.mlp_ratio)
        return max(attention, T * ((others + 3) * width + 4 * hidden) * byte)

    inputs = T * 4 * config.encoder.channels * byte  # [condition | noise] for both stacks
    return inputs + max(block(dit.width, dit.heads, 0), block(dit.head_width, dit.head_heads, 7))


def _dpt(config: ModelConfig, V: int, N: int, pixels: int, byte: int) -> int:
    dpt = config.dpt
    assert dpt is not None
    # Fusion at 8 times the patch grid: x, its activation, two convolutions, the finer laterals.
    fusion = V * dpt.features * byte * (5 * 64 * N + 2 * 16 * N)
    # Then half the features at the images' resolution: resized, with positions, and what the convolution makes of it.
    output = V * pixels * byte * (3 * dpt.features // 2 + 2 * dpt.hidden)
    return max(fusion, output)


def describe(config: ModelConfig) -> dict:
    """What `gld models info` prints, as plain JSON values: counts, bytes of the weights, estimated peaks."""
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
        "published": published_networks(config),
        "weights": {name: sum(estimate(config, dtype).weights.values()) for name, dtype in DTYPES.items()},
        "peaks": peaks,
    }


def published_networks(config: ModelConfig) -> dict[str, int]:
    """Parameters of the encoder's published file, including what GLD does not use of it."""
    encoder = config.encoder
    with torch.device("meta"):
        if encoder == DA3_BASE:
            heads = [
                DualDPT(encoder.channels, DA3_BASE_HEAD),
                CameraEncoder(encoder.width),
                CameraDecoder(encoder.channels),
            ]
            networks = {"DA3-Base": [GeometryEncoder(encoder), *heads]}
        elif encoder == VGGT_1B:
            mask_token = nn.Embedding(1, encoder.width)  # published, though nothing reads it
            networks = {"VGGT aggregator": [GeometryEncoder(encoder), mask_token]}
        else:
            networks = {}
    return {name: sum(p.numel() for net in nets for p in net.parameters()) for name, nets in networks.items()}


def check_fits(needed: Estimate, device: torch.device | str) -> None:
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
    try:
        with open("/proc/meminfo") as file:
            free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        cache = int(counts["inactive_file"])  # counts as used, but goes where memory is needed
    except (OSError, ValueError, KeyError):  # no container, or "max"
        return free
    return min(free, limit - used + cache)
