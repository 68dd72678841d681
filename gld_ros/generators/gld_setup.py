# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""GLD's presets, working sizes, the work of a request, and the checks before a model is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from gld_ros.diffusion.sampler import Sampling
from gld_ros.errors import InvalidRequest
from gld_ros.generators.devices import has_bfloat16
from gld_ros.generators.native import PIXELS, native_size
from gld_ros.generators.request import Limits, Loading, Preset, Request
from gld_ros.geometry.cameras import Camera
from gld_ros.networks.configs import FlowConfig, ModelConfig
from gld_ros.networks.dit import evaluation_flops
from gld_ros.weights.memory import check_fits, estimate

STAGES = ("level1", "level0")


def presets(config: ModelConfig) -> dict[str, Preset]:
    """The presets of a model.

    A stage whose model takes no more steps by itself (few-step students) is sampled as configured, by Euler, which it
    was trained for. "exact" of the released models takes 49 + 49 (DA3) or 99 + 99 (VGGT) Euler steps.
    """
    if config.warps:
        steps, pixels, faster = (
            {"balanced": (3, 1), "fast": (1, 1)},
            {"fast": 320 * 240},
            own_sampling(config.flow)["level1"],
        )
    else:
        # Level 0 is nearly given by level 1. Guidance is left out where the state is nearly noise, where it does harm,
        # and where it is nearly data, where it does nothing (arXiv 2404.07724).
        steps, pixels = {"balanced": (14, 6), "fast": (6, 1)}, {}
        faster = Sampling(1, guidance_interval=(0.15, 0.8), solver="dpmpp2m")
    own = own_sampling(config.flow)
    found = {"exact": Preset("exact", own)}
    for name, counts in steps.items():
        sampling = dict(own)
        for (stage, how), count in zip(own.items(), counts, strict=True):
            if count < how.steps:
                # One step predicts the mean, which guidance would only exaggerate.
                scale = how.guidance_scale if count > 1 else 1.0
                sampling[stage] = Sampling(count, scale, faster.guidance_interval, faster.solver)
        found[name] = Preset(name, sampling, pixels.get(name, PIXELS))
    if most := config.flow.near_steps:
        # Small holes have one likely filling: more steps would only make it vary.
        found = {name: replace(one, near=fewer(one.sampling, most)) for name, one in found.items()}
    return found


def fewer(sampling: Mapping[str, Sampling], most: int) -> dict[str, Sampling]:
    """With at most this number of steps of level 1, and without guidance."""
    level1 = sampling["level1"]
    return {**sampling, "level1": replace(level1, steps=min(level1.steps, most), guidance_scale=1.0)}


def own_sampling(flow: FlowConfig) -> dict[str, Sampling]:
    """Both stages as the model is configured."""
    return {stage: Sampling(*flow.sampling(stage), flow.guidance_interval, flow.solver) for stage in STAGES}


def working_size(camera: Camera, config: ModelConfig) -> tuple[int, int]:
    """(H, W), multiples of the patch, of about the camera's aspect and of the model's number of pixels."""
    aspect, patch = camera.width / camera.height, config.encoder.patch
    if config.long_side:
        long = config.long_side // patch
        short = max(1, round(long * min(aspect, 1 / aspect)))
        rows, columns = (short, long) if aspect >= 1 else (long, short)
    else:
        rows = max(2, round(math.sqrt(config.patches / aspect)))
        columns = max(2, round(config.patches / rows))
    return rows * patch, columns * patch


def work(config: ModelConfig, request: Request, kept: bool, native: bool) -> dict[str, list[float]]:
    """Tokens of each step of all phases, twice those of guided steps; images at the cameras' resolution in patches.

    kept: the sources are encoded. native: what a source saw is taken from there.
    """
    area, pixels, warps = config.encoder.patch**2, request.preset.pixels, config.warps
    patches = request.size[0] * request.size[1] / area
    S, V = len(request.sources), len(request.cameras)
    observed = sum(math.prod(native_size(source.camera, pixels)) for source in request.sources) / area
    shown = sum(math.prod(native_size(target, pixels)) for target in request.targets) / area
    encode = 0.0 if kept else S * patches + warps * observed
    tokens = V * (patches + config.level1.special_tokens)
    levels = {
        stage: [rows * tokens for rows in how.evaluations(config.flow.t_end)]
        for stage, how in request.preset.sampling.items()
    }
    decode = V * patches + shown + native * len(request.targets) * observed
    return {"encode": [encode], **({"condition": [V * patches]} if warps else {}), **levels, "decode": [decode]}


def sampling_flops(config: ModelConfig, preset: Preset, size: tuple[int, int], views: int) -> float:
    """FLOPs of both stages by the plain method for so many views of (H, W), sources too; guided steps count twice."""
    grid = (size[0] // config.encoder.patch, size[1] // config.encoder.patch)
    return sum(
        sum(how.evaluations(config.flow.t_end)) * evaluation_flops(config, stage, views, grid)
        for stage, how in preset.sampling.items()
    )


def weights_dtype(config: ModelConfig, loading: Loading) -> torch.dtype:
    """The dtype of the weights: as asked; float32 for warp conditioning, which is small; else the fastest."""
    if loading.dtype is not None:
        return loading.dtype
    large = not config.warps and has_bfloat16(loading.device)
    return torch.bfloat16 if large else torch.float32


def check_memory(config: ModelConfig, loading: Loading) -> None:
    """Raise OutOfMemory with the estimate where the device cannot hold the model; warp conditioning fits everywhere."""
    if not config.warps:
        dtype, device = weights_dtype(config, loading), loading.device
        check_fits(estimate(config, dtype, offload=bool(loading.offload), device=device.type), device)


def check_tensors(images: Tensor, K: Tensor, c2w: Tensor, name: str, limits: Limits) -> None:
    """Raise InvalidRequest unless images (B, S, 3, H, W), K (B, V, 3, 3) and c2w (B, V, 4, 4) make a request."""
    found = f"images are {tuple(images.shape)}, K {tuple(K.shape)}, c2w {tuple(c2w.shape)}"
    B, V = (*K.shape, 0, 0)[:2]
    if images.ndim != 5 or images.shape[::2][:2] != (B, 3) or K.shape != (B, V, 3, 3) or c2w.shape != (B, V, 4, 4):
        raise InvalidRequest(f"{found}; expected (B, S, 3, H, W), (B, V, 3, 3) and (B, V, 4, 4)")
    limits.check_views(name, images.shape[1], V - images.shape[1])
    H, W = images.shape[-2:]
    limits.check_size((H, W))
    for b in range(B):
        for v in range(V):
            Camera(K[b, v].double().cpu().numpy(), c2w[b, v].double().cpu().numpy(), W, H).check(f"view {v}")
