# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Stages and data that train in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gld_ros.data.clips import ClipBatch
from gld_ros.data.room_views import render_scenes
from gld_ros.networks.configs import DiTConfig, DPTConfig, EncoderConfig, FlowConfig, ModelConfig, RGBDecoderConfig
from gld_ros.networks.gld import GLDNetworks
from gld_ros.training.config import FlowTraining, OptimizerConfig, TrainConfig
from gld_ros.training.flow_stage import FlowStage
from gld_ros.training.latents import GeometricLatents
from gld_ros.training.perceptual import Perceptual
from gld_ros.training.records import read_log
from gld_ros.training.stage import Stage

DIT = DiTConfig(
    width=32,
    depth=1,
    heads=2,
    head_width=48,
    head_heads=2,
    camera_channels=7,
    split_embedders=True,
    prediction="velocity",
)
MODEL = ModelConfig(
    name="tiny",
    encoder=EncoderConfig(width=32, heads=2, position_grid=4),
    dpt=DPTConfig(features=16, out_channels=(16, 16, 16, 16), hidden=8),
    rgb=RGBDecoderConfig(width=32, depth=1, heads=2, hidden=64, base_grid=4),
    matching=None,
    level1=DIT,
    level0=replace(DIT, level1_channels=64, split_embedders=False),
    flow=FlowConfig(t_end=0.001),
)
CONFIG = TrainConfig(
    views=4,
    sizes=((32, 24),),
    workers=0,
    batch=2,
    steps=12,
    precision="fp32",
    device="cpu",
    optimizer=OptimizerConfig(learning_rate=1e-3),
    flow=FlowTraining(sources=(1, 2), statistics_batches=2, sample_steps=2),
    save_every=5,
    sample_every=0,
)


def curve(folder: Path) -> list[dict[str, float]]:
    """What a run recorded of every step, but for its time."""
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(folder)]


def small_perceptual() -> Perceptual:
    """In the place of EfficientNet: two frozen convolutions."""
    return Perceptual([nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, 2)], (0, 1))


class Numbers:
    """Batches of vectors by number, from no file."""

    def __init__(self, scenes: int = 2):
        self.scenes = scenes

    def __call__(self, number: int) -> Moved:
        rows = [self.row(number * self.scenes + i) for i in range(self.scenes)]
        return Moved(torch.stack(rows))

    def row(self, index: int) -> Tensor:
        return torch.randn(3, generator=torch.Generator().manual_seed(index))


class Moved:
    """A tensor as a batch."""

    def __init__(self, x: Tensor):
        self.x = x

    def to(self, device) -> Moved:
        return Moved(self.x.to(device))


class Toy(Stage):
    """A linear layer; `chance` adds dropout, so that the random state has a say."""

    def __init__(self, chance: float = 0.3):
        super().__init__()
        torch.manual_seed(1)
        self.line, self.chance = nn.Linear(3, 2), chance
        self.register_buffer("seen", torch.zeros(()))

    def loss(self, batch: Moved) -> dict[str, Tensor]:
        if self.training:
            self.seen += len(batch.x)
        out = self.line(nn.functional.dropout(batch.x, self.chance))
        return {"a": out.pow(2).mean(), "b": (out - 1).abs().mean(), "_aside": out.mean() * 100}


class Clips:
    """Rooms of 32 x 24 pixels by number, four views each."""

    def __init__(self, scenes: int = 2):
        self.scenes = scenes

    def __call__(self, number: int) -> ClipBatch:
        seeds = [number * self.scenes + i for i in range(self.scenes)]
        rooms = render_scenes(seeds, 32, 24)
        return ClipBatch(rooms.images, rooms.K, rooms.c2w, rooms.depth, [str(s) for s in seeds])


def flow_stage(level0: bool = False, **options) -> FlowStage:
    """A tiny diffusion stage on a tiny random encoder."""
    torch.manual_seed(2)
    net = GLDNetworks(MODEL)
    dit = net.level0 if level0 else net.level1
    flow = replace(CONFIG.flow, **options)
    return FlowStage(GeometricLatents(net), dit, 0 if level0 else 1, 1 if level0 else None, MODEL.flow, flow)
