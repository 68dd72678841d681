# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a diffusion stage is run: as it is, or compiled for the shapes that are asked for."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from gld_ros.diffusion.field import Conditioning, Network, StageField, guidance_times
from gld_ros.diffusion.flow import time_grid
from gld_ros.diffusion.sampler import OnStep, Sampling, integrate
from gld_ros.networks.configs import FlowConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.prope import CameraTables

#: Compiled shapes that are kept: two networks, with guidance and without, of four numbers of views or sizes.
SHAPES = 16


class Engine:
    """Samples the stages of a model on one device.

    compiled: with `torch.compile`, for each shape (batch, views, grid) at its first use, which takes minutes for the
    released models; CUDA graphs on CUDA. The least recently used of more than `shapes` is forgotten. joined: both
    branches of guidance in one batch; by default on CUDA, where it fills the device: a CPU is full as it is.
    """

    def __init__(
        self,
        device: torch.device,
        compiled: bool = False,
        joined: bool | None = None,
        shapes: int = SHAPES,
        backend: str = "inductor",
    ):
        self.cuda = device.type == "cuda"
        self.compiled, self.shapes, self.backend = compiled, shapes, backend
        self.joined = self.cuda if joined is None else joined
        self._networks: OrderedDict[tuple, Network] = OrderedDict()

    def sample(
        self,
        dit: MultiViewDiT,
        flow: FlowConfig,
        cond: Conditioning,
        noise: Tensor,
        sampling: Sampling,
        on_step: OnStep = lambda step: None,
    ) -> Tensor:
        """Latents (B, V, C, h, w) of a stage from noise, on its device.

        `on_step(i)` is called in step i = 1, 2, ...; True ends the sampling (see `integrate`), as does an exception.
        Raises InvalidRequest for a solver that there is not.
        """
        views = noise.shape[1]
        times = time_grid(flow, sampling.steps, views)
        interval = guidance_times(sampling, flow, views)
        field = StageField(self.network(dit), dit, cond, times[:-1], sampling, interval, self.joined)
        return integrate(field, noise, times, sampling.solver, on_step)

    def network(self, dit: MultiViewDiT) -> Network:
        """The network as it is run."""
        if not self.compiled:
            return dit

        def run(
            noisy: Tensor,
            condition: Tensor,
            t: Tensor,
            camera: Tensor,
            tables: tuple[CameraTables, CameraTables],
            sources: int,
            level1: Tensor | None,
        ) -> Tensor:
            forward = self._for_shape(dit, noisy, sources, level1)
            return forward(noisy, condition, t, camera, tables, sources, level1)

        return run

    @property
    def kept(self) -> int:
        """How many compiled shapes there are."""
        return len(self._networks)

    def _for_shape(self, dit: MultiViewDiT, noisy: Tensor, sources: int, level1: Tensor | None) -> Network:
        key = (id(dit), tuple(noisy.shape), sources, level1 is None)
        if key not in self._networks:
            if len(self._networks) >= self.shapes:
                self._networks.popitem(last=False)
            self._networks[key] = self._compile(dit)
        self._networks.move_to_end(key)
        return self._networks[key]

    def _compile(self, dit: MultiViewDiT) -> Network:
        def forward(*args: Any) -> Tensor:
            return dit(*args)

        # What is compiled belongs to the code object. With one of its own a shape is compiled once, without guards of
        # the others, and freed with this function.
        forward.__code__ = forward.__code__.replace()
        graphs = self.cuda and self.backend == "inductor"
        mode = "reduce-overhead" if graphs else None
        compiled = torch.compile(forward, dynamic=False, mode=mode, backend=self.backend)

        def run(*args: Any) -> Tensor:
            if not graphs:
                return compiled(*args)
            torch.compiler.cudagraph_mark_step_begin()
            return compiled(*args).clone()  # the graph's own output is overwritten by its next run

        return run
