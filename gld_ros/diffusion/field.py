# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The velocity field of one stage in one request, with all that stays the same from step to step made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gld_ros.diffusion.conditioning import Cameras
from gld_ros.diffusion.flow import shift_of, shift_time
from gld_ros.diffusion.prediction import as_velocity
from gld_ros.diffusion.sampler import Sampling
from gld_ros.networks.configs import FlowConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.prope import CameraTables

#: A network as it is run: `MultiViewDiT.forward` with embedded times and cameras.
Network = Callable[..., Tensor]


@dataclass
class Conditioning:
    """All that a stage is conditioned on in a request.

    base: latents (B, V, C, h, w) of the sources and of what is known of the targets; cameras: of all views; null: those
    of the unconditional branch, None where guidance is not asked for; level1: latents that level 0 is conditioned
    on, None for level 1 itself.
    """

    base: Tensor
    cameras: Cameras
    null: Cameras | None = None
    level1: Tensor | None = None


@dataclass
class Branch:
    """A batch the network is asked of: one branch of guidance, or both. camera: (B, V, h * w, D) tokens; times: the
    embedding (B, D) of each."""

    base: Tensor
    camera: Tensor
    tables: tuple[CameraTables, CameraTables]
    level1: Tensor | None
    times: dict[float, tuple[Tensor, Tensor]]

    def joined(self, other: Branch) -> Branch:
        """This and the other in one batch, in this order."""

        def pair(a: Tensor, b: Tensor) -> Tensor:
            return torch.cat([a, b])

        tables = [
            replace(a, project=pair(a.project, b.project), unproject=pair(a.unproject, b.unproject))
            for a, b in zip(self.tables, other.tables, strict=True)
        ]
        level1 = None if self.level1 is None or other.level1 is None else pair(self.level1, other.level1)
        times = {t: (pair(moment[0], moment[0]), pair(moment[1], moment[1])) for t, moment in self.times.items()}
        base, camera = pair(self.base, other.base), pair(self.camera, other.camera)
        return Branch(base, camera, (tables[0], tables[1]), level1, times)


class StageField:
    """velocity(x (B, V, C, h, w), t (B,)) at times on the host, each one of those given at first.

    Nothing in it waits for the device. joined: both branches of guidance in one batch of 2 B instead of one after the
    other.
    """

    def __init__(
        self,
        network: Network,
        dit: MultiViewDiT,
        cond: Conditioning,
        times: Tensor,
        sampling: Sampling,
        interval: tuple[float, float],
        joined: bool,
    ):
        """interval: times between which guidance is applied."""
        self.network, self.kind, self.sources = network, dit.config.prediction, cond.cameras.sources
        self.scale, self.interval = sampling.guidance_scale, interval
        B, device = len(cond.base), cond.base.device
        on_device = [at.expand(B) for at in times.to(device)]
        moments = {t: (at, dit.t_embedder(at)) for t, at in zip(times.tolist(), on_device, strict=True)}

        def branch(cameras: Cameras) -> Branch:
            camera = dit.camera_embedder(cameras.camera_map)
            return Branch(cond.base, camera, cameras.tables, cond.level1, moments)

        self.conditional = branch(cond.cameras)
        self.unconditional: Branch | None = None
        self.both: Branch | None = None
        if sampling.guided and cond.null is not None:
            self.unconditional = branch(cond.null)
            self.both = self.unconditional.joined(self.conditional) if joined else None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        time = float(t[0])
        if self.unconditional is None or not self.interval[0] <= time <= self.interval[1]:
            return self._ask(self.conditional, x, time)
        if self.both is not None:
            base, conditional = self._ask(self.both, torch.cat([x, x]), time).chunk(2)
        else:
            base, conditional = self._ask(self.unconditional, x, time), self._ask(self.conditional, x, time)
        return base + self.scale * (conditional - base)

    def _ask(self, branch: Branch, x: Tensor, time: float) -> Tensor:
        t, embedded = branch.times[time]
        out = self.network(x, branch.base, embedded, branch.camera, branch.tables, self.sources, branch.level1)
        return as_velocity(self.kind, out.float(), x, t)


def guidance_times(sampling: Sampling, flow: FlowConfig, views: int) -> tuple[float, float]:
    """The guidance interval on the shifted grid."""
    low, high = (shift_time(torch.tensor(t), shift_of(flow, views)).item() for t in sampling.guidance_interval)
    # Both ends belong to it, whatever the grid's rounding.
    return low - 1e-6, high + 1e-6
