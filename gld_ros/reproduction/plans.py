# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Budgets of `gld reproduce`: sizes, rooms, steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gld_ros.diffusion.flow import DATA
from gld_ros.networks.configs import DiTConfig, DPTConfig, EncoderConfig, FlowConfig, ModelConfig, RGBDecoderConfig
from gld_ros.training.config import Device, FlowTraining, OptimizerConfig, Precision, TrainConfig


@dataclass(frozen=True)
class Plan:
    """One budget. All variants see the same rooms in the same order, with the same seed.

    size: side of the square images, pixels. representation_steps: of each encoder with its decoders, and of the VAE.
    flow_steps: of each diffusion stage. milestones: shares of `flow_steps` after which a stage is scored.
    """

    budget: str
    size: int
    rooms: int
    test_rooms: int
    batch: int
    representation_steps: int
    flow_steps: int
    encoder: EncoderConfig
    dpt: DPTConfig
    rgb: RGBDecoderConfig
    dit: DiTConfig
    milestones: tuple[float, ...] = (0.08, 0.16, 0.25, 0.4, 0.65, 1.0)
    statistics_batches: int = 8
    sampling_steps: int = 6
    representation_rate: float = 1e-3
    flow_rate: float = 8e-4
    vae_width: int = 128
    #: Channels of the smaller VAE: 12 times fewer values than its patches of 8 x 8 pixels have.
    compressed_channels: int = 16
    seed: int = 0
    device: Device = "auto"
    precision: Precision = "bf16"
    flow: FlowConfig = field(default_factory=lambda: FlowConfig(shift=3.0))
    #: One scale of noise on the cascade's level 1, as in released training, and 10 % of the scenes without cameras.
    training: FlowTraining = field(
        default_factory=lambda: FlowTraining(given_noise=0.8, sources=(2, 2), camera_dropout=0.1)
    )

    @property
    def model(self) -> ModelConfig:
        """Encoder and heads of a joint model, without warping, as the released ones are; small."""
        return ModelConfig(
            name=f"reproduce-{self.budget}",
            encoder=self.encoder,
            dpt=self.dpt,
            matching=None,
            rgb=self.rgb,
            level1=self.dit,
            level0=self.dit,
            flow=self.flow,
        )

    @property
    def scored_steps(self) -> list[int]:
        """Steps of a diffusion stage after which it is scored."""
        return sorted({max(1, round(share * self.flow_steps)) for share in self.milestones})

    def representation_run(self, stage: str) -> TrainConfig:
        """Settings of an encoder's or a VAE's training."""
        steps = self.representation_steps
        optimizer = OptimizerConfig(
            learning_rate=self.representation_rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            schedule="cosine",
            warmup=min(50, steps // 4),
            final=0.02,
            ema=0.995,
            ema_warmup=True,
        )
        return TrainConfig(stage=stage, steps=steps, optimizer=optimizer, **self._shared())

    def flow_run(self, stage: str, steps: int) -> TrainConfig:
        """Settings of a diffusion stage's training up to a milestone: a constant rate, so that it can go on."""
        warmup = min(30, self.flow_steps // 8)
        optimizer = OptimizerConfig(learning_rate=self.flow_rate, warmup=warmup, ema=0.99, ema_warmup=True)
        return TrainConfig(stage=stage, steps=steps, optimizer=optimizer, **self._shared())

    def _shared(self) -> dict[str, Any]:
        kept = {name: getattr(self, name) for name in ("batch", "seed", "precision", "device")}
        sizes = ((self.size, self.size),)
        return kept | {"views": 4, "sizes": sizes, "workers": 0, "save_every": 50, "keep": 1, "sample_every": 0}


def dit(width: int, depth: int, head_width: int) -> DiTConfig:
    """A diffusion stage that predicts the data, heads of 32 channels."""
    return DiTConfig(
        width=width,
        depth=depth,
        heads=width // 32,
        head_width=head_width,
        head_depth=1,
        head_heads=head_width // 32,
        camera_channels=7,
        prediction=DATA,
    )


PLANS = {
    "smoke": Plan(
        budget="smoke",
        size=32,
        rooms=32,
        test_rooms=4,
        batch=4,
        representation_steps=6,
        flow_steps=6,
        encoder=EncoderConfig(width=32, heads=1, position_grid=4),
        dpt=DPTConfig(features=16, out_channels=(16, 16, 16, 16), hidden=16),
        rgb=RGBDecoderConfig(width=32, depth=1, heads=1, hidden=64, base_grid=4),
        dit=dit(32, 1, 64),
        milestones=(0.5, 1.0),
        statistics_batches=2,
        sampling_steps=2,
        vae_width=16,
    ),
    "cpu": Plan(
        budget="cpu",
        size=48,
        rooms=3072,
        test_rooms=64,
        batch=12,
        representation_steps=500,
        flow_steps=200,
        encoder=EncoderConfig(width=96, heads=3, position_grid=6),
        dpt=DPTConfig(features=24, out_channels=(24, 32, 48, 64), hidden=24),
        rgb=RGBDecoderConfig(width=128, depth=3, heads=4, hidden=512, base_grid=6),
        dit=dit(128, 4, 192),
    ),
    "gpu": Plan(
        budget="gpu",
        size=64,
        rooms=16384,
        test_rooms=200,
        batch=64,
        representation_steps=4000,
        flow_steps=3000,
        encoder=EncoderConfig(width=192, heads=6, position_grid=8),
        dpt=DPTConfig(features=32, out_channels=(32, 48, 64, 96), hidden=32),
        rgb=RGBDecoderConfig(width=192, depth=4, heads=6, hidden=768, base_grid=8),
        dit=dit(256, 6, 384),
        representation_rate=5e-4,
        flow_rate=5e-4,
        vae_width=256,
        sampling_steps=16,
    ),
}
