# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a diffusion stage is sampled."""

from __future__ import annotations

from dataclasses import dataclass

from gld_ros.models.block_cache import CacheConfig


@dataclass(frozen=True)
class Sampling:
    """Of one stage of one request. solver: of diffusion/solvers.py. guidance_scale: 1 = conditional branch alone.

    guidance_interval: times, as they were before the grid's shift, between which guidance is applied (arXiv
    2404.07724); outside it the conditional branch alone. cache: reuse of deep blocks, None for none.
    """

    steps: int
    guidance_scale: float = 1.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    solver: str = "euler"
    cache: CacheConfig | None = None

    @property
    def guided(self) -> bool:
        """Whether there is an unconditional branch at all."""
        return self.guidance_scale > 1
