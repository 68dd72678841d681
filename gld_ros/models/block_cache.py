# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""First-block cache: what a DiT's deep blocks do to its tokens changes little from one step to the next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CacheConfig:
    """When a step reuses the deep blocks' residuals instead of evaluating them.

    every: each n-th step is evaluated, the rest is reused; decided without waiting for the device. threshold: reused
    where the first block's output differs from that of the last evaluation by less than this share of it; the host has
    to read that share in every step. With both, what either asks for is evaluated. first: steps that always are.
    """

    every: int = 0
    threshold: float = 0.0
    first: int = 1

    def __post_init__(self) -> None:
        if self.every < 0 or self.threshold < 0 or not (self.every or self.threshold):
            raise ValueError(f"a cache with every={self.every}, threshold={self.threshold}: one above 0 is expected")


class BlockCache:
    """The residuals of one stage and branch of guidance, from one step to the next."""

    def __init__(self, config: CacheConfig):
        self.config = config
        #: Steps so far, and how many of them were evaluated.
        self.steps = self.evaluated = 0
        self._reused = 0
        self._first: Tensor | None = None
        self._residuals: tuple[Tensor, Tensor] | None = None

    @torch.compiler.disable
    def residuals(self, first: Tensor) -> tuple[Tensor, Tensor] | None:
        """What the deep blocks of encoder and head add (B, T, D), (B, T, head); None: they must be evaluated.

        first: (B, T, D), the output of the encoder's first block.
        """
        self.steps += 1
        if self.steps <= self.config.first or self._residuals is None or self._due() or self._changed(first):
            return None
        self._reused += 1
        return self._residuals

    @torch.compiler.disable
    def keep(self, first: Tensor, encoded: Tensor, embedded: Tensor, head: Tensor) -> None:
        """Tokens before and after the deep blocks of the encoder, and of the head."""
        self.evaluated += 1
        self._reused = 0
        self._residuals = encoded - first, head - embedded
        if self.config.threshold:
            self._first = first.clone()  # compiled networks write their next output to the same place

    def _due(self) -> bool:
        return bool(self.config.every) and self._reused + 1 >= self.config.every

    def _changed(self, first: Tensor) -> bool:
        if not self.config.threshold or self._first is None:
            return False
        change = (first - self._first).abs().mean() / self._first.abs().mean()
        return bool(change >= self.config.threshold)
