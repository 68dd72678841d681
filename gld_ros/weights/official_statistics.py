# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the published latent statistics: {mean, var, std: (1, C, 1, 1), count: tokens, level} (spec gld.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

#: Relative difference between var and the square of std; both are stored in float32.
TOLERANCE = 1e-3


def statistics_problems(content: Mapping[str, Any], level: int) -> list[str]:
    """The problems of one file's content, which should be that of `level`, a sentence each."""
    problems = []
    if (found := content.get("level", level)) != level:
        problems.append(f"is of level {found}, expected {level}")
    problems += [f"has no '{what}'" for what in ("mean", "var") if not isinstance(content.get(what), Tensor)]
    std = content.get("std")
    if problems or not isinstance(std, Tensor) or (content["var"] <= 0).any() or _agree(std, content["var"]):
        return problems
    exchanged = _agree(std, content["mean"])
    return ["mean and var are exchanged: std² is mean" if exchanged else "std is not the root of var"]


def changed_places(contents: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether the patches' file ("level") and that of the special tokens ("special") have changed places.

    An image has many patches and few special tokens: `count` of the patches is always larger.
    """
    patches, special = (contents.get(name, {}).get("count", 0) for name in ("level", "special"))
    return bool(patches < special)


def _agree(std: Tensor, var: Tensor) -> bool:
    square = std.flatten() ** 2
    return square.shape == var.flatten().shape and bool(((square - var.flatten()).abs() <= TOLERANCE * square).all())
