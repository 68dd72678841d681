# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two small interfaces of the engine: the stage that it trains, and the data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

#: Scenes of a sample sheet.
ROWS = 2


class TrainingData(Protocol):
    """An endless, repeatable stream of batches, which have `to(device)`."""

    def batches(self, position: int, rank: int = 0, processes: int = 1) -> Iterator[Any]:
        """The batches of one of several processes, from its batch number `position` on.

        Batch n of process r is number n * processes + r of the whole stream, whatever the position it began at.
        """
        ...


class Stage(nn.Module, ABC):
    """The networks of one run and their loss.

    All randomness of `loss` comes from torch's global generator, which the engine seeds before every call, so that a
    resumed run draws what an uninterrupted one would.
    """

    #: Sub-modules (or parameters) by name prefix that come from elsewhere; checkpoints leave their parameters out.
    frozen: tuple[str, ...] = ()
    #: Fields of a cache of latents that the loss reads (latent_cache.py); none for stages that train on images.
    fields: tuple[str, ...] = ()
    #: True if some parameters get no gradient in some steps (several processes have to look for them, which costs).
    has_unused_parameters = False
    #: The step that the engine is at, counted from 0; for losses that come in later.
    step = 0

    @abstractmethod
    def loss(self, batch: Any) -> dict[str, Tensor]:
        """Named losses of one batch; their sum is minimised. Names that begin with "_" are only recorded."""

    def forward(self, batch: Any, task: str = "loss") -> Any:
        """`loss` or `sheet`, by the name that wrappers of modules (DDP, FSDP) call."""
        return getattr(self, task)(batch)

    def prepare(self, batches: Iterator[Any]) -> None:
        """Called once before the first step of a new run, not of a resumed one."""
        return None

    def sheet(self, batch: Any) -> Tensor | None:
        """A picture (3, H, W) in 0..1 that shows how far the training is."""
        return None

    def kept(self) -> dict[str, Tensor]:
        """Parameters and buffers by name that a checkpoint holds; the average replaces those that are trained."""
        frozen = {name for name, _ in self.named_parameters() if name.startswith(self.frozen)}
        return {name: value for name, value in self.state_dict().items() if name not in frozen}


def total(losses: dict[str, Tensor]) -> Tensor:
    """The sum of the losses that are minimised."""
    return torch.stack([value.float() for name, value in losses.items() if not name.startswith("_")]).sum()
