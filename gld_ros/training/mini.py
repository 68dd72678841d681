# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld train mini`: the embedded model on procedural rooms, in four stages, from scratch or from a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gld_ros.data.augment import photometric
from gld_ros.data.clips import ClipBatch
from gld_ros.data.room_views import BUCKETS
from gld_ros.diffusion.flow import interpolate, shift_time
from gld_ros.errors import InvalidRequest
from gld_ros.models.checkpoints import save_model
from gld_ros.models.configs import ModelConfig, to_dict
from gld_ros.models.gld import GLDNetworks
from gld_ros.pipeline.synthesis import condition, decode, encode_sources, predict, target_cameras
from gld_ros.training.config import OptimizerConfig, TrainConfig
from gld_ros.training.data import Numbered, Rooms
from gld_ros.training.engine import Engine
from gld_ros.training.latents import GeometricLatents
from gld_ros.training.losses import (
    composite_depth_loss,
    geometry_loss,
    level_dropout,
    matching_loss,
    mean_log_error,
    picture_loss,
)
from gld_ros.training.stage import Stage

#: In this order: encoder with its heads; posed depth alone; both diffusion stages with what follows them; compositor.
STAGES = ("geometry", "depth", "diffusion", "compositor")
#: Rooms that a stage may use before it meets those of the next one.
ROOMS_A_STAGE = 200_000_000


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
    diffusion_steps: int = 1000
    diffusion_rate: float = 8e-4
    compositor_steps: int = 400
    compositor_rate: float = 1e-3
    level_dropout: float = 0.15
    #: Share of the depth stage's scenes whose pictures are changed as real cameras do.
    augmented: float = 0.4
    statistics_batches: int = 16
    seed: int = 0
    device: str = "auto"

    def run(self, stage: str, steps: int, rate: float, model: ModelConfig, seed: int) -> TrainConfig:
        """The settings of one stage's run."""
        optimizer = OptimizerConfig(
            rate, (0.9, 0.98), 0.01, schedule="cosine", warmup=100, final=0.02, ema=0.998, ema_warmup=True
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
            optimizer=optimizer,
            save_every=50,
            sample_every=0,
        )


class GeometryStage(Stage):
    """Encoder, geometry head, posed depth and RGB decoder, trained together."""

    has_unused_parameters = True

    def __init__(self, net: GLDNetworks, level_dropout: float):
        super().__init__()
        self.encoder, self.dpt, self.matching, self.rgb = net.encoder, net.dpt, net.matching, net.rgb
        self.level_dropout = level_dropout

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Losses of one batch: two sources and one of the two targets, all encoded together."""
        assert batch.depth is not None
        views = [0, 1, int(torch.randint(2, 4, ()))]
        images, depth = batch.images[:, views], batch.depth[:, views]
        K, c2w = batch.K[:, views], batch.c2w[:, views]
        # Two posed views at test time, sometimes three.
        posed = 3 if torch.rand(()) < 0.25 else 2
        levels = self.encoder(images)
        grid = levels[0].grid
        features = [self.encoder.to_decoder(level) for level in levels]
        geometry = self.dpt(features, grid, images.shape[-2:])
        rgb = self.rgb(level_dropout(features, self.level_dropout), grid)
        tokens = features[3][:, :posed]
        swept = self.matching.both(images[:, :posed], K[:, :posed], c2w[:, :posed], tokens, grid)
        losses = geometry_loss(geometry, depth, K, c2w)
        losses |= matching_loss(*swept, depth[:, :posed])
        losses["rgb"] = 3 * (rgb - images).abs().mean()
        return losses


class DepthStage(Stage):
    """Posed depth alone, of pictures as real cameras take them; the encoder is frozen."""

    frozen = ("encoder.",)

    def __init__(self, net: GLDNetworks, augmented: float):
        super().__init__()
        self.encoder, self.matching, self.augmented = net.encoder.requires_grad_(False), net.matching, augmented

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Losses of one batch: the sources, any two of the four views, or three of them."""
        assert batch.depth is not None
        order, kind = torch.randperm(4).tolist(), float(torch.rand(()))
        views = [0, 1] if kind < 0.4 else order[: 2 if kind < 0.85 else 3]
        images, depth = photometric(batch.images[:, views], self.augmented), batch.depth[:, views]
        K, c2w = batch.K[:, views], batch.c2w[:, views]
        with torch.no_grad():
            level = self.encoder(images)[3]
            tokens = self.encoder.to_decoder(level)
        first, second = self.matching.both(images, K, c2w, tokens, level.grid)
        losses = matching_loss(first, second, depth)
        with torch.no_grad():
            losses["_abs_rel"] = (second.depth / depth - 1).abs().mean()
        return losses


class DiffusionStage(Stage):
    """Both diffusion stages, RGB decoder and compositor in the loop; encoder, head and posed depth are frozen."""

    frozen: tuple[str, ...] = ("net.encoder.", "net.dpt.", "net.matching.")

    def __init__(self, net: GLDNetworks, statistics_batches: int):
        super().__init__()
        self.net, self.statistics_batches = net, statistics_batches
        for part in (net.encoder, net.dpt, net.matching):
            part.requires_grad_(False)

    def prepare(self, batches: Iterator[ClipBatch]) -> None:
        """Latent statistics, over sources and one target."""
        space = GeometricLatents(self.net)
        space.measure((batch.images[:, :3] for batch in batches), self.statistics_batches, (0, 1))
        for name, buffer in self.net.named_buffers(recurse=False):
            buffer.copy_(getattr(space.net, name))

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Losses of one batch: two sources, one of the two targets. x0 is predicted once a stage and decoded."""
        assert batch.depth is not None
        net, views = self.net, [0, 1, int(torch.randint(2, 4, ()))]
        images, K, c2w = batch.images[:, views], batch.K[:, views], batch.c2w[:, views]
        truth, depth = images[:, -1], batch.depth[:, views[-1]]
        B, device = images.shape[0], images.device
        with torch.no_grad():
            sources = images[:, :2], K[:, :2], c2w[:, :2]
            features, grid = encode_sources(net, sources[0])
            given = condition(net, *sources, net.matching(*sources, features[3], grid), K[:, -1], c2w[:, -1])
            levels = net.encoder(images, levels=2)
            latent0, latent1 = (net.to_latent(level, k).float() for k, level in enumerate(levels))
        if torch.rand(()) < 0.1:
            given.cameras = target_cameras(net, K, c2w, given.warped.seen, grid, drop=True)
        # Two times out of three from pure noise: there the model has to generate, and there sampling begins.
        t = torch.where(torch.rand(B) < 0.6, torch.ones(B), shift_time(torch.rand(B), net.config.flow.shift))
        t = t.to(device)
        noisy1 = interpolate(latent1, torch.randn_like(latent1), t)
        noisy0 = interpolate(latent0, torch.randn_like(latent0), t)
        clean1 = predict(net.level1, noisy1, t, given.level1, given.cameras)
        # The cascade learns on level 1 as it will get it: half the time the prediction, half noised truth.
        rough = latent1 + 0.3 * torch.rand(B, 1, 1, 1, 1, device=device) * torch.randn_like(latent1)
        hint = clean1.detach() if torch.rand(()) < 0.5 else rough
        clean0 = predict(net.cascade, noisy0, t, given.level0, given.cameras, hint)
        composite, decoded = decode(net, clean0, clean1, given)
        seen = given.warped.seen
        return {
            "level1": 0.5 * (clean1 - latent1).pow(2).mean(),
            "level0": 0.5 * (clean0 - latent0).pow(2).mean(),
            "decoded": picture_loss(decoded, truth, seen),
            "composite": 2 * picture_loss(composite.image, truth, seen),
            "psnr": 0.05 * mean_log_error(composite.image, truth, seen),
            "depth": composite_depth_loss(composite.depth, composite.spread, depth),
        }


class CompositorStage(DiffusionStage):
    """The compositor alone, on what all the others give now; half the time of a step of them all."""

    frozen = (*DiffusionStage.frozen, "net.level1.", "net.cascade.", "net.rgb.")

    def __init__(self, net: GLDNetworks):
        super().__init__(net, statistics_batches=0)
        for part in (net.level1, net.cascade, net.rgb):
            part.requires_grad_(False)

    def prepare(self, batches: Iterator[ClipBatch]) -> None:
        """Nothing: latents are as they were."""

    def loss(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Of the diffusion stage's losses those of the composite."""
        return {name: value for name, value in super().loss(batch).items() if name in ("composite", "psnr", "depth")}


def train_mini(folder: Path, out: Path, net: GLDNetworks, plan: MiniTraining) -> bool:
    """The plan's stages on `net`, resuming in `folder`; the model is written to `out`.

    False when interrupted before the end. Raises InvalidRequest for stages that do not exist, and for later ones alone
    from scratch.
    """
    if unknown := [name for name in plan.stages if name not in STAGES]:
        raise InvalidRequest(f"stages {', '.join(unknown)}: expected some of {', '.join(STAGES)}")
    if not plan.start and STAGES[0] not in plan.stages:
        raise InvalidRequest(f"stages {', '.join(plan.stages)} go on from a model: give --start, or {STAGES[0]} first")
    makers: dict[str, Callable[[], Stage]] = {
        "geometry": lambda: GeometryStage(net, plan.level_dropout),
        "depth": lambda: DepthStage(net, plan.augmented),
        "diffusion": lambda: DiffusionStage(net, plan.statistics_batches),
        "compositor": lambda: CompositorStage(net),
    }
    for number, name in enumerate(STAGES):
        if name not in plan.stages:
            continue
        steps, rate = getattr(plan, f"{name}_steps"), getattr(plan, f"{name}_rate")
        config = plan.run(f"mini-{name}", steps, rate, net.config, plan.seed + number)
        rooms = Rooms(plan.batch, BUCKETS, first=number * ROOMS_A_STAGE)
        net.requires_grad_(True)
        engine = Engine(makers[name](), config, folder / name)
        if not engine.fit(Numbered(rooms, config.workers)):
            return False
    save_model(out, net)
    return True
