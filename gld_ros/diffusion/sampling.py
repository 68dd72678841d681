"""How a diffusion stage is sampled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """Of one stage of one request. solver: see diffusion/solvers.py. guidance_scale: 1 = conditional branch alone.

    guidance_interval: grid times, before the shift, between which guidance is applied (arXiv 2404.07724).
    """

    steps: int
    guidance_scale: float = 1.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    solver: str = "euler"
