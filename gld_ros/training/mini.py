# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld train mini`: the embedded model on procedural rooms, stage by stage, from scratch or from a model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from gld_ros.data.room_views import BUCKETS
from gld_ros.errors import InvalidRequest
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gld import GLDNetworks
from gld_ros.plain import to_dict
from gld_ros.training.config import Device, OptimizerConfig, OptimizerKind, Precision, TrainConfig
from gld_ros.training.data import Numbered, Rooms
from gld_ros.training.decoder_stage import grow_decoder
from gld_ros.training.latent_cache import SCENES, ShardPlan, build_cache
from gld_ros.training.latents import GeometricLatents
from gld_ros.training.stages import CACHE, ROOMS, Job
from gld_ros.weights.loading import save_model

#: In this order: the encoder with its heads; posed depth alone; latents of many scenes to disk; on these, the decoders
#: and both diffusion stages; and the RGB decoder on what these generate. All but "cache" are STAGES of `stages.py`.
SEQUENCE = ("geometry", "depth", "cache", "decoder", "level1", "level0", "generated")
DIFFUSION = ("level1", "level0")
#: Rooms that a stage may use before it meets those of the next one.
ROOMS_A_STAGE = 100_000_000
#: Batches over which latent statistics are taken.
STATISTICS_BATCHES = 16


@dataclass(frozen=True)
class MiniTraining:
    """Budgets and batch sizes of the stages. stages: those to run. start: sha256 of the weights that they go on from,
    "" from scratch."""

    stages: tuple[str, ...] = SEQUENCE
    start: str = ""
    batch: int = 12
    geometry_steps: int = 1300
    geometry_rate: float = 1e-3
    depth_steps: int = 2000
    depth_rate: float = 1e-3
    #: Scenes whose latents are kept on disk (1.2 MB each), and processes that make them on a CPU.
    scenes: int = 40_000
    processes: int = 2
    #: Scenes of a batch of the decoders' stage, and of a diffusion stage's.
    decoder_batch: int = 4
    decoder_steps: int = 4000
    decoder_rate: float = 5e-4
    flow_batch: int = 8
    level1_steps: int = 22_000
    level1_rate: float = 1e-3
    level0_steps: int = 9000
    level0_rate: float = 1e-3
    generated_batch: int = 3
    generated_steps: int = 400
    generated_rate: float = 3e-4
    seed: int = 0
    device: Device = "auto"
    #: "fp32", or "bf16" where that is fast: GPUs, CPUs with AMX.
    precision: Precision = "fp32"
    #: Optimiser of the diffusion stages (`OptimizerConfig.kind`).
    flow_optimizer: OptimizerKind = "muon"
    #: Compile the transformer blocks of the diffusion stages on a CPU: 1.3 times as many steps an hour.
    compiled: bool = True

    def run(self, stage: str, model: ModelConfig) -> TrainConfig:
        """The settings of one stage's run."""
        data, batch = f"{CACHE}../cache", self.flow_batch
        sizes: tuple[tuple[int, int], ...] = BUCKETS
        if stage in ("geometry", "depth"):
            data, batch = f"{ROOMS}{first_room(stage)}", self.batch
        elif stage not in DIFFUSION:
            batch = getattr(self, f"{stage}_batch")
        if stage == "depth":  # for zooming
            sizes = tuple((2 * width, 2 * height) for width, height in BUCKETS[:1])
        optimizer = OptimizerConfig(
            kind=self.flow_optimizer if stage in DIFFUSION else "adamw",
            learning_rate=getattr(self, f"{stage}_rate"),
            betas=(0.9, 0.98),
            weight_decay=0.01,
            schedule="cosine",
            warmup=100,
            final=0.02,
            ema=0.998,
            ema_warmup=True,
        )
        return TrainConfig(
            stage=f"mini-{stage}",
            start=self.start,  # so that checkpoints of another start are refused
            model=to_dict(model),
            data={data: 1.0},
            views=4,
            sizes=sizes,
            workers=1,
            batch=batch,
            steps=getattr(self, f"{stage}_steps"),
            seed=self.seed + SEQUENCE.index(stage),
            device=self.device,
            precision=self.precision,
            optimizer=optimizer,
            level_dropout=0.15,
            compiled=self.compiled,
            save_every=50,
            sample_every=0,
        )


def first_room(stage: str) -> int:
    """The number of the first room that a stage uses."""
    return SEQUENCE.index(stage) * ROOMS_A_STAGE


def train_mini(folder: Path, out: Path, net: GLDNetworks, plan: MiniTraining) -> bool:
    """The plan's stages on `net`, resuming in `folder`; the model is written to `out`.

    False when interrupted before the end. Raises InvalidRequest for stages that do not exist, and for later ones alone
    from scratch.
    """
    if unknown := [name for name in plan.stages if name not in SEQUENCE]:
        raise InvalidRequest(f"stages {', '.join(unknown)}: expected some of {', '.join(SEQUENCE)}")
    if not plan.start and SEQUENCE[0] not in plan.stages:
        raise InvalidRequest(
            f"stages {', '.join(plan.stages)} go on from a model: give --start, or {SEQUENCE[0]} first"
        )
    if net.rgb.tail is None:
        grow_decoder(net)
    for name in sorted(set(plan.stages), key=SEQUENCE.index):
        if name == "cache":
            fill_cache(folder, net, plan)
            continue
        net.requires_grad_(True)
        if not Job(plan.run(name, net.config), net).fit(folder / name).finished:
            return False
    save_model(out, net)
    return True


def fill_cache(folder: Path, net: GLDNetworks, plan: MiniTraining) -> None:
    """Latents of the plan's scenes in `folder`/cache, by the encoder and the posed depth that `net` has now.

    Latent statistics that `net` does not have are taken over sources and one target of procedural rooms.
    """
    if not net.get_buffer("level1_mean").any():
        space, rooms = GeometricLatents(net), Rooms(plan.batch, BUCKETS[:1], first_room("cache"))
        space.measure((batch.images[:, :3] for batch in Numbered(rooms).batches(0)), STATISTICS_BATCHES, (0, 1))
        net.load_state_dict(space.statistics(), strict=False)
    device = "cuda" if plan.device != "cpu" and torch.cuda.is_available() else "cpu"
    save_model(folder / "encoder", net)
    shards = ShardPlan(math.ceil(plan.scenes / SCENES), first_room("cache"))
    build_cache(folder / "cache", folder / "encoder", shards, plan.processes, device)
