# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Optimisers, learning-rate schedules, and the average of the weights over the steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gld_ros.errors import InvalidRequest
from gld_ros.training.config import OptimizerConfig


def rate_factor(step: int, steps: int, config: OptimizerConfig) -> float:
    """Factor of the learning rate at a step counted from 0: warm-up, then the schedule."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    end = config.decay_steps or steps
    part = min((step - config.warmup) / max(end - config.warmup, 1), 1.0)
    fall = 1 - part if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * part))
    return config.final + (1 - config.final) * fall


def optimizers(module: nn.Module, config: OptimizerConfig) -> dict[str, torch.optim.Optimizer]:
    """The optimisers of the trained parameters by name: "adam", and "muon" for matrices of transformer blocks.

    Raises InvalidRequest where "muon" is asked for and there are no such matrices.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in trained(module):
        orthogonal = config.kind == "muon" and parameter.ndim == 2 and "blocks" in name.split(".")
        (matrices if orthogonal else others).append(parameter)
    adam = torch.optim.AdamW(others, config.learning_rate, config.betas, config.eps, config.weight_decay)
    if config.kind == "adamw":
        return {"adam": adam}
    if not matrices:
        raise InvalidRequest("optimizer.kind is 'muon', but no transformer block is trained here: expected 'adamw'")
    # Its steps are scaled to the size of AdamW's, so that both share one learning rate.
    muon = torch.optim.Muon(
        matrices, config.learning_rate, config.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    return {"adam": adam, "muon": muon}


class Average:
    """Exponential moving average of the trained parameters, in float32; buffers are not averaged."""

    def __init__(self, module: nn.Module, config: OptimizerConfig):
        self.module, self.config = module, config
        self.values = {name: p.detach().clone() for name, p in trained(module)}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After the optimiser's step number `step`, counted from 1."""
        decay = self.config.ema
        if self.config.ema_warmup:
            decay = min(decay, (1 + step) / (10 + step))
        for name, parameter in trained(self.module):
            self.values[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module with the averaged weights, until the block ends."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the module's weights and the averaged ones."""
        for name, parameter in trained(self.module):
            current: Tensor = parameter.detach().clone()
            parameter.copy_(self.values[name])
            self.values[name] = current


def trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters that have gradients."""
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]
