"""`gld train mini`: the embedded model from scratch on procedural rooms, in two stages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gld_ros.data.room_views import RoomViews
from gld_ros.diffusion.flow import interpolate, shift_time
from gld_ros.models.checkpoints import save_model
from gld_ros.models.configs import ModelConfig
from gld_ros.models.dpt import DualDPT
from gld_ros.models.encoder import GeometryEncoder
from gld_ros.models.gld import GLDNetworks
from gld_ros.models.matching import PosedDepth
from gld_ros.models.rgb_decoder import RGBDecoder
from gld_ros.pipeline.synthesis import condition, decode, encode_sources, predict, target_cameras
from gld_ros.training.losses import (
    composite_depth_loss,
    geometry_loss,
    level_dropout,
    matching_loss,
    mean_log_error,
    picture_loss,
)
from gld_ros.training.rooms import room_batches
from gld_ros.training.run import TrainingRun


@dataclass(frozen=True)
class MiniTraining:
    """Budgets and batch sizes of the stages."""

    batch: int = 12
    geometry_steps: int = 1300
    geometry_rate: float = 1e-3
    diffusion_steps: int = 1000
    diffusion_rate: float = 8e-4
    level_dropout: float = 0.15
    statistics_batches: int = 16
    seed: int = 0


class GeometryStage(nn.Module):
    """Encoder, geometry head, posed depth and RGB decoder, trained together."""

    def __init__(self, config: ModelConfig, level_dropout: float):
        super().__init__()
        assert config.dpt is not None and config.matching is not None
        self.encoder = GeometryEncoder(config.encoder)
        self.dpt = DualDPT(config.encoder.channels, config.dpt)
        self.matching = PosedDepth(config.encoder.channels, config.matching)
        self.rgb = RGBDecoder(config.encoder.channels, config.encoder.patch, config.rgb)
        self.level_dropout = level_dropout

    def loss(self, scene: RoomViews) -> dict[str, Tensor]:
        """Losses of one batch: two sources and one of the two targets, all encoded together."""
        views = [0, 1, int(torch.randint(2, 4, ()))]
        images, depth = scene.images[:, views], scene.depth[:, views]
        K, c2w = scene.K[:, views], scene.c2w[:, views]
        # Two posed views at test time, sometimes three.
        posed = 3 if torch.rand(()) < 0.25 else 2
        with torch.autocast(images.device.type, torch.bfloat16):
            levels = self.encoder(images)
            grid = levels[0].grid
            features = [self.encoder.to_decoder(level) for level in levels]
            geometry = self.dpt(features, grid, images.shape[-2:])
            rgb = self.rgb(level_dropout(features, self.level_dropout), grid)
            tokens = features[3][:, :posed]
            matched = self.matching(images[:, :posed], K[:, :posed], c2w[:, :posed], tokens, grid)
        losses = geometry_loss(geometry, depth, K, c2w)
        losses |= matching_loss(matched, depth[:, :posed])
        losses["rgb"] = 3 * (rgb - images).abs().mean()
        return losses


class DiffusionStage(nn.Module):
    """Both diffusion stages, RGB decoder and compositor in the loop; encoder, head and posed depth are frozen."""

    def __init__(self, net: GLDNetworks):
        super().__init__()
        self.net = net
        for part in (net.encoder, net.dpt, net.matching):
            part.requires_grad_(False)

    def loss(self, scene: RoomViews) -> dict[str, Tensor]:
        """Losses of one batch: two sources, one of the two targets. x0 is predicted once a stage and decoded."""
        net, views = self.net, [0, 1, int(torch.randint(2, 4, ()))]
        images, K, c2w = scene.images[:, views], scene.K[:, views], scene.c2w[:, views]
        truth, depth = images[:, -1], scene.depth[:, views[-1]]
        B, device = images.shape[0], images.device
        with torch.autocast(device.type, torch.bfloat16):
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


def latent_statistics(net: GLDNetworks, batches: Iterator[RoomViews], count: int) -> None:
    """Per-channel mean and variance of levels 0 and 1 over `count` batches, into the model's buffers."""
    tokens: dict[int, list[Tensor]] = {0: [], 1: []}
    with torch.no_grad():
        for _ in range(count):
            scene = next(batches)
            for k, level in enumerate(net.encoder(scene.images[:, :3], levels=2)):
                tokens[k].append(level.patches.transpose(0, 2).flatten(1))
    for k, parts in tokens.items():
        values = torch.cat(parts, dim=1)
        getattr(net, f"level{k}_mean").copy_(values.mean(dim=1))
        getattr(net, f"level{k}_var").copy_(values.var(dim=1))


def train_diffusion(
    folder: Path, stage: GeometryStage, config: ModelConfig, plan: MiniTraining, device: str
) -> GLDNetworks | None:
    """Stage two, on the frozen stage one. Returns the averaged weights, None when interrupted."""
    torch.manual_seed(plan.seed + 1)
    net = GLDNetworks(config).to(device)
    for name in ("encoder", "dpt", "matching", "rgb"):
        getattr(net, name).load_state_dict(getattr(stage, name).state_dict())
    # Fresh rooms, those after the first stage's; the first batches are for the statistics.
    first, resumed = plan.batch * plan.geometry_steps, (folder / "diffusion" / "checkpoint.pt").exists()
    rooms: Iterator[RoomViews] = iter(())
    if not resumed:
        rooms = (to_device(b, device) for b in room_batches(plan.batch, 0, first))
        latent_statistics(net, rooms, plan.statistics_batches)
    stage_two = DiffusionStage(net)
    run = TrainingRun(folder / "diffusion", stage_two, plan.diffusion_steps, plan.diffusion_rate)
    if resumed and run.step < run.steps:
        rooms = (to_device(b, device) for b in room_batches(plan.batch, plan.statistics_batches + run.step, first))
    run.fit(rooms, stage_two.loss)
    return run.average.net if run.step >= run.steps else None


def train_mini(folder: Path, out: Path, config: ModelConfig, plan: MiniTraining, device: str) -> bool:
    """Both stages, resuming in `folder`; the model is written to `out`. False when interrupted before the end."""
    geometry = train_geometry(folder, config, plan, device)
    net = train_diffusion(folder, geometry, config, plan, device) if geometry is not None else None
    if net is None:
        return False
    save_model(out, net)
    return True


def train_geometry(folder: Path, config: ModelConfig, plan: MiniTraining, device: str) -> GeometryStage | None:
    """Stage one. Returns the averaged weights, None when interrupted."""
    torch.manual_seed(plan.seed)
    stage = GeometryStage(config, plan.level_dropout).to(device)
    run = TrainingRun(folder / "geometry", stage, plan.geometry_steps, plan.geometry_rate)
    batches = (to_device(b, device) for b in room_batches(plan.batch, run.step)) if run.step < run.steps else iter(())
    run.fit(batches, stage.loss)
    return run.average if run.step >= run.steps else None


def to_device(scene: RoomViews, device: str) -> RoomViews:
    return RoomViews(*(getattr(scene, k).to(device) for k in ("images", "depth", "K", "c2w")))
