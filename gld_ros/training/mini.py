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
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.gld import GLDNetworks
from gld_ros.plain import to_dict
from gld_ros.training.config import Device, OptimizerConfig, OptimizerKind, Precision, TrainConfig
from gld_ros.training.data import Numbered, Rooms
from gld_ros.training.decoder_stage import DecoderStage, DecoderTraining, grow_decoder
from gld_ros.training.depth_stage import DepthStage, depth_batches
from gld_ros.training.encoder_stage import EncoderStage
from gld_ros.training.engine import Engine
from gld_ros.training.generated_stage import FIELDS as GENERATED
from gld_ros.training.generated_stage import GeneratedStage
from gld_ros.training.latent_cache import SCENES, CachedLatents, ShardPlan, build_cache
from gld_ros.training.latents import GeometricLatents
from gld_ros.training.stage import Stage, TrainingData
from gld_ros.training.warped_flow import FIELDS, WarpedFlowStage
from gld_ros.weights.loading import save_model

#: In this order: the encoder with its heads; posed depth alone; latents of many scenes to disk; on these, the decoders
#: and both diffusion stages; and the RGB decoder on what these generate.
STAGES = ("geometry", "depth", "cache", "decoder", "level1", "level0", "generated")
#: The fields of a cache that the decoders are trained on.
PAINTED = ("level0", "level1", "camera", "images", "depth", "K", "c2w")
#: Rooms that a stage may use before it meets those of the next one.
ROOMS_A_STAGE = 100_000_000


@dataclass(frozen=True)
class MiniTraining:
    """Budgets and batch sizes of the stages. stages: those to run. start: sha256 of the weights that they go on from,
    "" from scratch."""

    stages: tuple[str, ...] = STAGES
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
    level_dropout: float = 0.15
    #: Share of the depth stage's scenes whose pictures are changed as real cameras do.
    augmented: float = 0.7
    #: A folder with a sensor's depth that the depth stage learns from too, and how many of its first frames; "": none.
    sequence: str = ""
    frames: int = 180
    statistics_batches: int = 16
    seed: int = 0
    device: Device = "auto"
    #: "fp32", or "bf16" where that is fast: GPUs, CPUs with AMX.
    precision: Precision = "fp32"
    #: Optimiser of the diffusion stages (`OptimizerConfig.kind`).
    flow_optimizer: OptimizerKind = "muon"
    #: Compile the transformer blocks of the diffusion stages on a CPU: 1.3 times as many steps an hour.
    compiled: bool = True

    def run(self, stage: str, steps: int, rate: float, model: ModelConfig, seed: int) -> TrainConfig:
        """The settings of one stage's run."""
        optimizer = OptimizerConfig(
            kind=self.flow_optimizer if stage in ("mini-level1", "mini-level0") else "adamw",
            learning_rate=rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            schedule="cosine",
            warmup=100,
            final=0.02,
            ema=0.998,
            ema_warmup=True,
        )
        return TrainConfig(
            stage=stage,
            start=self.start,  # so that checkpoints of another start are refused
            model=to_dict(model),
            views=4,
            sizes=BUCKETS,
            workers=1,
            batch=self.batch,
            steps=steps,
            seed=seed,
            device=self.device,
            precision=self.precision,
            optimizer=optimizer,
            save_every=50,
            sample_every=0,
        )


class GeometryStage(EncoderStage):
    """Encoder, geometry head, posed depth and RGB decoder, trained together on two sources and one target."""

    def __init__(self, net: GLDNetworks, level_dropout: float):
        super().__init__(net, level_dropout, propagation=0.0)

    def draw(self, V: int) -> tuple[list[int], int]:
        """Both sources and one of the two targets; posed depth sees two views, as at test time, sometimes three."""
        return [0, 1, int(torch.randint(2, 4, ()))], 3 if torch.rand(()) < 0.25 else 2


def train_mini(folder: Path, out: Path, net: GLDNetworks, plan: MiniTraining) -> bool:
    """The plan's stages on `net`, resuming in `folder`; the model is written to `out`.

    False when interrupted before the end. Raises InvalidRequest for stages that do not exist, and for later ones alone
    from scratch.
    """
    if unknown := [name for name in plan.stages if name not in STAGES]:
        raise InvalidRequest(f"stages {', '.join(unknown)}: expected some of {', '.join(STAGES)}")
    if not plan.start and STAGES[0] not in plan.stages:
        raise InvalidRequest(f"stages {', '.join(plan.stages)} go on from a model: give --start, or {STAGES[0]} first")
    if net.rgb.tail is None:
        grow_decoder(net)
    for number, name in enumerate(STAGES):
        if name not in plan.stages:
            continue
        if name == "cache":
            cache(folder, net, plan)
            continue
        net.requires_grad_(True)
        stage, data = stage_of(name, net, plan, folder, number)
        steps, rate = getattr(plan, f"{name}_steps"), getattr(plan, f"{name}_rate")
        config = plan.run(f"mini-{name}", steps, rate, net.config, plan.seed + number)
        engine = Engine(stage, config, folder / name)
        if plan.compiled and isinstance(stage, WarpedFlowStage) and engine.accelerator.device.type == "cpu":
            compile_blocks(stage.dit)
        if not engine.fit(data):
            return False
    save_model(out, net)
    return True


def stage_of(name: str, net: GLDNetworks, plan: MiniTraining, folder: Path, number: int) -> tuple[Stage, TrainingData]:
    """A stage and what it trains on."""
    if name == "geometry":
        rooms = Rooms(plan.batch, BUCKETS, first=number * ROOMS_A_STAGE)
        return GeometryStage(net, plan.level_dropout), Numbered(rooms, workers=1)
    if name == "depth":
        batches = depth_batches(plan.batch, number * ROOMS_A_STAGE, plan.sequence, plan.frames)
        return DepthStage(net, plan.augmented), Numbered(batches, workers=1)
    latents = folder / "cache"
    if name == "decoder":
        return DecoderStage(net, DecoderTraining()), CachedLatents(latents, plan.decoder_batch, PAINTED, plan.seed)
    if name == "generated":
        return GeneratedStage(net), CachedLatents(latents, plan.generated_batch, GENERATED, plan.seed)
    level = 1 if name == "level1" else 0
    return WarpedFlowStage(net, level), CachedLatents(latents, plan.flow_batch, FIELDS[level], plan.seed)


def compile_blocks(dit: MultiViewDiT) -> None:
    """Compile each transformer block for every shape it meets: image sizes by numbers of views."""
    torch._dynamo.config.recompile_limit = 64
    for block in dit.blocks:
        block.compile(dynamic=False)


def cache(folder: Path, net: GLDNetworks, plan: MiniTraining) -> None:
    """Latents of the plan's scenes in `folder`/cache, by the encoder and the posed depth that `net` has now."""
    if not net.get_buffer("level1_mean").any():
        measure_latents(net, plan)
    device = "cuda" if plan.device != "cpu" and torch.cuda.is_available() else "cpu"
    save_model(folder / "encoder", net)
    shards = ShardPlan(math.ceil(plan.scenes / SCENES), first_seed=STAGES.index("cache") * ROOMS_A_STAGE)
    build_cache(folder / "cache", folder / "encoder", shards, plan.processes, device)


def measure_latents(net: GLDNetworks, plan: MiniTraining) -> None:
    """The latent statistics, over sources and one target of procedural rooms."""
    space = GeometricLatents(net)
    rooms = Rooms(plan.batch, BUCKETS[:1], first=STAGES.index("cache") * ROOMS_A_STAGE)
    batches = (batch.images[:, :3] for batch in Numbered(rooms).batches(0))
    space.measure(batches, plan.statistics_batches, (0, 1))
    for name, buffer in net.named_buffers(recurse=False):
        buffer.copy_(getattr(space.net, name))
