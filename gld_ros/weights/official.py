# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The published checkpoints: which file holds which network, under which key names (spec gld.md, "Released files")."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


def same(key: str) -> str:
    return key


def vggt_block(key: str) -> str:
    """Our blocks alternate in one list, VGGT publishes two: frame_blocks (ours with even numbers), global_blocks."""

    def name(match: re.Match) -> str:
        index = int(match[1])
        return f"{('frame', 'global')[index % 2]}_blocks.{index // 2}."

    return re.sub(r"^blocks\.(\d+)\.", name, key)


@dataclass(frozen=True)
class Part:
    """One network inside a published file: the prefix of its keys, and how our key names read there."""

    prefix: str = ""
    rename: Callable[[str], str] = same

    def key(self, ours: str) -> str:
        """The published key of one of our state-dict keys."""
        return self.prefix + self.rename(ours)


def shared_names(net: nn.Module) -> list[list[str]]:
    """Names under which the state dict holds one and the same parameter: DA3's ray scales share their LayerNorm.

    A safetensors file may hold such a parameter under one of its names only.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with the tensors `found` (their shapes; nothing is read), one line a key."""
    problems = [f"missing {k}" for k in wanted if k not in found]
    problems += [f"unexpected {k}" for k in found if k not in wanted]
    for key in (k for k in wanted if k in found):
        if found[key].shape != wanted[key].shape:
            problems.append(f"{key} is {tuple(found[key].shape)}, expected {tuple(wanted[key].shape)}")
        elif not found[key].is_floating_point():
            problems.append(f"{key} is {found[key].dtype}, expected floating point")
    return problems


def shortened(problems: list[str], limit: int = 8) -> str:
    """One line of at most `limit` problems and the number of the others."""
    return "; ".join(problems[:limit]) + (f"; and {len(problems) - limit} more" if len(problems) > limit else "")
