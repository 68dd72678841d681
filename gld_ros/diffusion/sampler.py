# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling of a diffusion stage: its settings, the velocity it predicts, and the loop that follows it to the data.

Every velocity points at data, x - t velocity, on the path x_t = (1 - t) data + t noise. Euler's method goes along the
velocity. DPM-Solver++(2M), arXiv 2211.01095, follows these data in lambda = log((1 - t) / t), where the linear part has
an exact solution. A grid may begin at noise alone (t = 1) and end at the data (t = 0), where lambda is infinite.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gld_ros.diffusion.conditioning import Cameras
from gld_ros.diffusion.flow import Velocity, as_velocity, guidance_times
from gld_ros.errors import InvalidRequest
from gld_ros.networks.configs import FlowConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.prope import CameraTables

SOLVERS = ("euler", "dpmpp2m")
#: Steps this many times as long as the one before, or longer, extrapolate no farther than one of this length. Shifted
#: grids end in steps four times as long, where the published solver overshoots and is worse than Euler's.
LONGEST = 1.0
#: Called in step i = 1, 2, ..., as soon as its velocity is evaluated; True ends the sampling.
OnStep = Callable[[int], bool | None]
#: Data (B, ...) predicted at a lambda.
Prediction = tuple[Tensor, float]
#: A network as it is run: `MultiViewDiT.forward` with embedded times and cameras.
Network = Callable[..., Tensor]
#: Number of compiled shapes that are kept: two networks, with guidance and without, of four numbers of views or sizes.
SHAPES = 16


@dataclass(frozen=True)
class Sampling:
    """The sampling of one stage of one request. solver: one of SOLVERS. guidance_scale: 1 = conditional branch alone.

    guidance_interval: times, as they were before the grid's shift, between which guidance is applied (arXiv
    2404.07724); outside it the conditional branch alone.
    """

    steps: int
    guidance_scale: float = 1.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    solver: str = "euler"

    @property
    def guided(self) -> bool:
        """True where guidance needs the unconditional branch."""
        return self.guidance_scale > 1

    def evaluations(self, t_end: float = 0.0) -> list[int]:
        """Evaluations of the network in each step: two with guidance, else one. t_end: of the linear grid."""
        first, last = self.guidance_interval
        times = torch.linspace(1, t_end, self.steps + 1).tolist()[:-1]
        return [2 if self.guided and first <= t <= last else 1 for t in times]


@dataclass
class Conditioning:
    """The condition of a stage in a request.

    base: latents (B, V, C, h, w) of the sources and of what is known of the targets; cameras: of all views; null: those
    of the unconditional branch, None where guidance is not asked for; level1: latents that level 0 is conditioned
    on, None for level 1 itself; null_base: the base of the unconditional branch, None for the same.
    """

    base: Tensor
    cameras: Cameras
    null: Cameras | None = None
    level1: Tensor | None = None
    null_base: Tensor | None = None


@dataclass
class Branch:
    """A batch that the network evaluates: one branch of guidance, or both. camera: (B, V, h * w, D) tokens."""

    base: Tensor
    camera: Tensor
    tables: tuple[CameraTables, CameraTables]
    level1: Tensor | None

    def joined(self, other: Branch) -> Branch:
        """This and the other in one batch, in this order."""
        first, second = (
            replace(
                a,
                project=torch.cat([a.project, b.project]),
                unproject=torch.cat([a.unproject, b.unproject]),
            )
            for a, b in zip(self.tables, other.tables, strict=True)
        )
        level1 = None if self.level1 is None or other.level1 is None else torch.cat([self.level1, other.level1])
        base, camera = torch.cat([self.base, other.base]), torch.cat([self.camera, other.camera])
        return Branch(base, camera, (first, second), level1)


class Runner:
    """Runs the diffusion networks of a model on one device.

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

    def velocity(self, dit: MultiViewDiT, flow: FlowConfig, cond: Conditioning, sampling: Sampling) -> Velocity:
        """velocity(x (B, V, C, h, w), t (B,) on the host) of a stage, with guidance in its interval.

        What stays the same from step to step is computed here, once; nothing waits for the device.
        """
        first, last = guidance_times(flow, sampling.guidance_interval, cond.base.shape[1])
        network, prediction, sources = self.network(dit), dit.config.prediction, cond.cameras.sources

        def branch(cameras: Cameras, base: Tensor = cond.base) -> Branch:
            return Branch(base, dit.camera_embedder(cameras.camera_map), cameras.tables, cond.level1)

        conditional = [branch(cond.cameras)]
        both: list[Branch] = []
        if sampling.guided and cond.null is not None:
            both = [branch(cond.null, cond.base if cond.null_base is None else cond.null_base), *conditional]
            both = [both[0].joined(both[1])] if self.joined else both

        def at(x: Tensor, t: Tensor) -> Tensor:
            time = float(t[0])
            moment = torch.full((len(x),), time, device=cond.base.device)
            embedded = dit.t_embedder(moment)
            velocities: list[Tensor] = []
            for b in both if both and first <= time <= last else conditional:
                rounds = len(b.base) // len(x)  # both branches of guidance in one batch, or one of them
                noisy, times = (torch.cat([y] * rounds) if rounds > 1 else y for y in (x, embedded))
                out = network(noisy, b.base, times, b.camera, b.tables, sources, b.level1).float()
                velocities += [as_velocity(prediction, o, x, moment) for o in out.chunk(rounds)]
            if len(velocities) == 1:
                return velocities[0]
            return velocities[0] + sampling.guidance_scale * (velocities[1] - velocities[0])

        return at

    def network(self, dit: MultiViewDiT) -> Network:
        """The network as it is run."""
        return (lambda noisy, *args: self._for_shape(dit, noisy, *args)(noisy, *args)) if self.compiled else dit

    @property
    def kept(self) -> int:
        """The number of compiled shapes."""
        return len(self._networks)

    def _for_shape(self, dit: MultiViewDiT, noisy: Tensor, *args: Any) -> Network:
        sources, level1 = args[-2:]
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

        # Compiled code belongs to the code object. With one of its own a shape is compiled once, without guards of
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


def velocity(dit: MultiViewDiT, base: Tensor, cameras: Cameras, level1: Tensor | None) -> Velocity:
    """The velocity that a stage predicts without guidance, everything embedded anew: for training."""

    def at(noisy: Tensor, t: Tensor) -> Tensor:
        out = dit(noisy, base, t, cameras.camera_map, cameras.tables, cameras.sources, level1).float()
        return as_velocity(dit.config.prediction, out, noisy, t)

    return at


def integrate(
    velocity: Velocity, noise: Tensor, times: Tensor, solver: str = "euler", on_step: OnStep = lambda step: None
) -> Tensor:
    """The data (B, ...) from noise (B, ...) along `times` (N,), with one evaluation of the velocity in each step.

    Euler's method also takes times on the noise's device, and a grid (N, B) of each scene's own. As soon as `on_step`
    says so, before the last step, the result is the data that the last velocity points at. An exception in `on_step`
    ends the sampling, too. Raises InvalidRequest for an unknown solver.
    """
    if solver not in SOLVERS:
        raise InvalidRequest(f"solver is '{solver}', expected one of {', '.join(SOLVERS)}")
    x, last = noise, len(times) - 1
    past: list[Prediction] = []
    for i, (t, following) in enumerate(zip(times[:-1], times[1:], strict=True), start=1):
        v = velocity(x, t.expand(len(x)))
        if on_step(i) and i < last:
            return x - _of_scenes(t, x) * v
        if solver == "euler":
            x = x + _of_scenes(following - t, x) * v
        else:
            x, past = _dpmpp2m_step(x, v, t.item(), following.item(), past)
    return x


def _of_scenes(t: Tensor, x: Tensor) -> Tensor:
    """One number () as it is; one a scene (B,) in the dimensions of x (B, ...)."""
    return t.reshape(-1, *[1] * (x.ndim - 1)) if t.ndim else t


def _dpmpp2m_step(
    x: Tensor, v: Tensor, t: float, following: float, past: list[Prediction]
) -> tuple[Tensor, list[Prediction]]:
    """x at the following time, and the last two predictions. Coefficients are made on the host."""
    past = [*past[-1:], (x - t * v, log_snr(t))]
    data, shrink = _extrapolated(past, log_snr(following)), following / t
    return shrink * x + (1 - following - shrink * (1 - t)) * data, past


def log_snr(t: float) -> float:
    """lambda = log((1 - t) / t)."""
    if t <= 0 or t >= 1:
        return math.inf if t <= 0 else -math.inf
    return math.log((1 - t) / t)


def _extrapolated(past: list[Prediction], end: float) -> Tensor:
    """The data in the middle of the step to `end`, on the line through the last two predictions.

    The last alone where it has none before it, or one an infinite step away, and in the step to the data.
    """
    data, here = past[-1]
    older, before = past[0]
    if len(past) < 2 or math.isinf(end) or math.isinf(before):
        return data
    return data + min((end - here) / (here - before), LONGEST) / 2 * (data - older)
