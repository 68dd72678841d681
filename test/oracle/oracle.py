"""Golden arrays, recipe weights and inputs (test/golden; how they were made is in its recipe.py and npz meta)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gld_ros.models.official import Part, load_part

GOLDEN = Path(__file__).parents[1] / "golden"
#: Data of other people, which this project does not redistribute; in the development environment only.
STATISTICS = Path(__file__).parents[3] / "shared" / "golden" / "model_stats.npz"
sys.path.insert(0, str(GOLDEN))
from recipe import input_for, tensor_for  # noqa: E402


class Golden:
    """One .npz: arrays as tensors, `meta` as a dict."""

    def __init__(self, path: Path):
        self._arrays = np.load(path)
        self.name = path.stem
        self.meta = json.loads(str(self._arrays["meta"])) if "meta" in self._arrays else {}

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self._arrays[key])

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    @property
    def keys(self) -> list[str]:
        return [k for k in self._arrays.files if k != "meta"]


def recipe(net: nn.Module, part: Part | None = None, salt: str = "") -> nn.Module:
    """Fill `net` with the recipe's weights under their published names, through the loader; frozen, in eval mode."""
    part = part or Part()
    tensors = {}
    for key, value in net.state_dict().items():
        made = tensor_for(part.key(key), value.shape, salt)
        tensors[part.key(key)] = value if made is None else torch.from_numpy(np.asarray(made))
    load_part(net, tensors, part, "recipe")
    return net.eval().requires_grad_(False)


def given(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard-normal input of the fixtures."""
    return torch.from_numpy(input_for(name, shape, seed))
