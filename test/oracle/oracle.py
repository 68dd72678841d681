# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Golden arrays, recipe weights and inputs (test/golden; how they were made is in its recipe.py and npz meta)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from builders.official_folder import recipe_tensors
from golden.recipe import input_for
from torch import Tensor, nn

from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gld import GLDNetworks
from gld_ros.weights.folder import KeyNames

GOLDEN = Path(__file__).parents[1] / "golden"
#: Data of other people, which this project does not redistribute; in the development environment only.
STATISTICS = Path(__file__).parents[3] / "shared" / "golden" / "model_stats.npz"


class Place:
    """The place where the networks run and the arrays lie; set by the options of the tests."""

    device = torch.device("cpu")


class Golden:
    """One .npz: arrays as tensors, `meta` as a dict."""

    def __init__(self, path: Path):
        self.arrays: Mapping[str, np.ndarray] = np.load(path)
        self.name = path.stem
        self.meta = json.loads(str(self.arrays["meta"])) if "meta" in self.arrays else {}

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key]).to(Place.device)

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    @property
    def keys(self) -> list[str]:
        return [k for k in self.arrays if k != "meta"]

    def images(self, key: str = "images_u8") -> Tensor:
        """Images (B, V, 3, H, W) in 0..1."""
        return self[key].float() / 255


def golden_file(name: str) -> Golden:
    """The arrays of one fixture."""
    return Golden(GOLDEN / f"{name}.npz")


def recipe(net: nn.Module, part: KeyNames | None = None, salt: str = "") -> nn.Module:
    """`net`, be it on the meta device, with the recipe's weights of its published names; frozen, in eval mode."""
    part = part or KeyNames()
    tensors = recipe_tensors(net, part, salt)
    net.load_state_dict({key: tensors[part.key(key)] for key in net.state_dict()}, assign=True)
    return net.to(Place.device).eval().requires_grad_(False)


def built(build: Callable[[], nn.Module], part: KeyNames | None = None, salt: str = "") -> nn.Module:
    """`recipe` of a large network without tables of its own, which is spared its random weights."""
    with torch.device("meta"):
        net = build()
    return recipe(net, part, salt)


def given(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard-normal input of the fixtures."""
    return torch.from_numpy(input_for(name, shape, seed)).to(Place.device)


def assembled(config: ModelConfig, statistics: Golden, **components: nn.Module) -> GLDNetworks:
    """A released GLD made of these components, with the official statistics; the others stay on the meta device."""
    family = config.name.removeprefix("gld-")
    with torch.device("meta"):
        net = GLDNetworks(config)
    for name, component in components.items():
        setattr(net, name, component)
    for name, _ in net.named_buffers(recurse=False):
        level, kind = name.rsplit("_", 1)
        setattr(net, name, statistics[f"{family}.{level.replace('special', 'special_level')}.{kind}"])
    return net.eval().requires_grad_(False)


class Call(NamedTuple):
    """What a module was given, and what it made of it."""

    args: tuple
    result: Tensor


@contextmanager
def watched(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Call]]]:
    """The calls of each module, by its name here."""
    calls: dict[str, list[Call]] = {name: [] for name in modules}
    hooks = [
        module.register_forward_hook(lambda module, args, result, name=name: calls[name].append(Call(args, result)))
        for name, module in modules.items()
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
