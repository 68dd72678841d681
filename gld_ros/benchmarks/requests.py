# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The inputs of the benchmarks: a wall of coloured blocks seen from side to side, settings by name, random weights."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.scenes import choose
from gld_ros.files import sha256, write_text
from gld_ros.generators.native import camera_tensors, pictures
from gld_ros.generators.request import PRESETS
from gld_ros.geometry.cameras import Camera, RelativeFrame
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gld import stored_dtype
from gld_ros.networks.released import MODELS
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.plain import to_dict
from gld_ros.views import SourceView
from gld_ros.weights.folder import STATISTICS, on_meta
from gld_ros.weights.layout import CONFIG, DTYPES
from gld_ros.weights.tensor_files import write_tensors

DISTANCE = 2.0  # of the wall, metres
BASELINE = 0.1  # between neighbouring cameras of a request, metres
BLOCKS = 24  # of the wall in a picture's width


@dataclass(frozen=True)
class Shape:
    """Size of a request. size: (H, W) of all cameras, pixels."""

    sources: int
    targets: int
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.views} {self.size[1]}x{self.size[0]}"

    @property
    def views(self) -> str:
        """Number of views as on the command line: sources+targets."""
        return f"{self.sources}+{self.targets}"


@dataclass(frozen=True)
class Variant:
    """Settings to compare, by name: keyword arguments of `GLDPipeline.__call__`."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


def preset_variant(name: str) -> Variant:
    """The settings of a preset. Raises InvalidRequest for one that there is not."""
    if name not in PRESETS:
        raise InvalidRequest(f"preset is '{name}', expected one of {', '.join(PRESETS)}")
    return Variant(name, {"preset": name})


def steps_variant(steps: int) -> Variant:
    """So many steps of each level. Raises InvalidRequest for none."""
    if steps < 1:
        raise InvalidRequest(f"{steps} steps, expected at least 1")
    return Variant(f"{steps} steps", {"steps": steps})


def requested(presets: Sequence[str], steps: int | None, guidance_scale: float | None) -> list[Variant]:
    """One variant a preset, or the model's own settings; `steps` and `guidance_scale` replace theirs."""
    changed = {"steps": steps, "guidance_scale": guidance_scale}
    asked = {name: value for name, value in changed.items() if value is not None}
    if steps is not None:
        steps_variant(steps)
    base = [preset_variant(name) for name in presets] or [Variant("default")]
    named = "".join(f" {name}={value:g}" for name, value in asked.items())
    return [Variant(variant.name + named, variant.settings | asked) for variant in base]


def compared(
    presets: Sequence[str], steps: Sequence[int], reference_steps: int | None
) -> tuple[Variant, list[Variant]]:
    """The reference (`exact`, or the model's own settings in so many steps) and what is compared with it: unless asked
    otherwise, the other presets."""
    reference = preset_variant(PRESETS[0]) if reference_steps is None else steps_variant(reference_steps)
    if not presets and not steps:
        presets = [name for name in PRESETS if name != PRESETS[0]]
    return reference, [*map(preset_variant, presets), *map(steps_variant, steps)]


class Wall:
    """Random blocks, 2 m in front of cameras of one size (H, W) that stand side by side along x.

    A camera moved by d sees the picture moved by fx d / 2: exact views at any place for the price of a copy. The wall
    repeats itself after two pictures.
    """

    def __init__(self, size: tuple[int, int], seed: int = 0) -> None:
        H, W = size
        self.K = np.array([[0.8 * W, 0, W / 2], [0, 0.8 * W, H / 2], [0, 0, 1]])
        self.size = size
        block = max(1, W // BLOCKS)
        colours = np.random.default_rng(seed).integers(0, 256, (-(-H // block), -(-2 * W // block), 3), dtype=np.uint8)
        once = cv2.resize(colours, (2 * W, H), interpolation=cv2.INTER_NEAREST)
        self._pixels = np.concatenate([once, once[:, :W]], axis=1)

    def camera(self, x: float) -> Camera:
        """At x metres, looking at the wall."""
        c2w = np.eye(4)
        c2w[0, 3] = x
        return Camera(self.K, c2w, self.size[1], self.size[0])

    def view(self, x: float, stamp: int = 0) -> SourceView:
        """The picture that the camera sees, to the nearest whole pixel."""
        W = self.size[1]
        start = round(self.K[0, 0] * x / DISTANCE) % (2 * W)
        return SourceView(np.ascontiguousarray(self._pixels[:, start : start + W]), self.camera(x), stamp)


def wall_request(shape: Shape) -> tuple[list[SourceView], list[Camera]]:
    """Sources and target cameras in a row, sources spread evenly from end to end. Raises InvalidRequest for no view."""
    if min(shape.sources, shape.targets) < 1:
        raise InvalidRequest(f"views {shape.views}: at least one source and one target are expected")
    wall = Wall(shape.size)
    choice = choose(shape.sources + shape.targets, shape.sources)
    return [wall.view(BASELINE * i) for i in choice.sources], [wall.camera(BASELINE * i) for i in choice.targets]


def wall_tensors(shape: Shape, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The same as images (1, S, 3, H, W), K (1, V, 3, 3) and c2w (1, V, 4, 4) of sources, then targets."""
    sources, targets = wall_request(shape)
    cameras = [*(source.camera for source in sources), *targets]
    images = pictures([source.image for source in sources], shape.size, device)
    return images, *camera_tensors(cameras, RelativeFrame(cameras), shape.size, device)


def request_settings(pipe: GLDPipeline, shape: Shape) -> dict[str, Any]:
    """Models for any size work at the cameras' own, others at theirs; random weights have no scale to insist on.

    Raises InvalidRequest for a size that is not made of whole patches.
    """
    settings: dict[str, Any] = {"strict_scale": False}
    if pipe.generator.limits.any_size:
        settings["size"] = shape.size
    return settings


@contextmanager
def model_folder(name: str, dtype: str | None = None) -> Iterator[str]:
    """The model for `GLDPipeline.from_pretrained`: random weights in a folder for gld-da3 and gld-vggt, else the name.

    dtype: of the random weights, "float32" or "bfloat16" (the default).
    """
    if name not in MODELS or Path(name).exists():
        yield name
        return
    with TemporaryDirectory(prefix="gld-bench-") as scratch:
        print(f"writing {name} with random weights to {scratch}", file=sys.stderr)
        write_random_model(MODELS[name], Path(scratch), dtype or "bfloat16")
        yield scratch


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
