"""`gld train mini`: the embedded model from scratch on procedural rooms, in two stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gld_ros.data.room_views import RoomViews
from gld_ros.models.configs import ModelConfig
from gld_ros.models.dpt import DualDPT
from gld_ros.models.encoder import GeometryEncoder
from gld_ros.models.matching import PosedDepth
from gld_ros.models.rgb_decoder import RGBDecoder
from gld_ros.training.losses import geometry_loss, level_dropout, matching_loss
from gld_ros.training.rooms import room_batches
from gld_ros.training.run import TrainingRun


@dataclass(frozen=True)
class MiniTraining:
    """Budgets and batch sizes of the stages."""

    batch: int = 12
    geometry_steps: int = 2000
    geometry_rate: float = 1e-3
    diffusion_steps: int = 1500
    diffusion_rate: float = 8e-4
    level_dropout: float = 0.15
    seed: int = 0


class GeometryStage(nn.Module):
    """Encoder, geometry head, posed depth and RGB decoder, trained together."""

    def __init__(self, config: ModelConfig, level_dropout: float):
        super().__init__()
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


def train_geometry(folder: Path, config: ModelConfig, plan: MiniTraining, device: str) -> GeometryStage:
    """Stage one. Returns the averaged weights."""
    torch.manual_seed(plan.seed)
    stage = GeometryStage(config, plan.level_dropout).to(device)
    run = TrainingRun(folder / "geometry", stage, plan.geometry_steps, plan.geometry_rate)
    batches = (to_device(b, device) for b in room_batches(plan.batch, run.step)) if run.step < run.steps else iter(())
    run.fit(batches, stage.loss)
    return run.average


def to_device(scene: RoomViews, device: str) -> RoomViews:
    return RoomViews(*(getattr(scene, k).to(device) for k in ("images", "depth", "K", "c2w")))
