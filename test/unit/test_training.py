"""Training runs: resume, interruption, guards; one real step of each stage."""

import os
import signal

import pytest
import torch
from torch import nn

from gld_ros.data.room_views import render_scenes
from gld_ros.models.configs import ModelConfig
from gld_ros.models.gld import GLDNetworks
from gld_ros.training.losses import level_dropout
from gld_ros.training.mini import DiffusionStage, GeometryStage
from gld_ros.training.run import TrainingRun, learning_rate_factor


def toy(folder, steps=12, save_every=100):
    torch.manual_seed(1)
    return TrainingRun(folder, nn.Linear(3, 1), steps, 1e-2, save_every=save_every)


def batches(start=0):
    for k in range(start, 10**6):
        yield torch.randn(4, 3, generator=torch.Generator().manual_seed(k))


def loss_of(run):
    # Dropout: the random state is part of what has to be resumed.
    return lambda x: {"loss": nn.functional.dropout(run.module(x), 0.3).pow(2).mean()}


def test_resumed_equals_uninterrupted(tmp_path):
    whole = toy(tmp_path / "whole")
    whole.fit(batches(), loss_of(whole))
    first = toy(tmp_path / "parts", save_every=5)

    def failing(x):
        if first.step == 7:
            raise KeyError("power cut")
        return loss_of(first)(x)

    with pytest.raises(KeyError):
        first.fit(batches(), failing)
    second = toy(tmp_path / "parts")
    assert second.step == 5
    second.fit(batches(second.step), loss_of(second))
    for a, b in zip(whole.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_sigterm_saves_and_ends(tmp_path):
    run = toy(tmp_path, steps=1000)

    def loss(x):
        if run.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss_of(run)(x)

    run.fit(batches(), loss)
    assert run.step == 4 and toy(tmp_path).step == 4


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    run = toy(tmp_path)
    with pytest.raises(FloatingPointError, match="step 0"):
        run.fit(batches(), lambda x: {"loss": run.module(x).mean() * torch.nan})


def test_learning_rate_warms_up_and_falls():
    rates = [learning_rate_factor(s, 1000) for s in range(1000)]
    assert rates[0] == 0.01 and max(rates) == pytest.approx(1) and rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_level_dropout_never_drops_all_levels_of_a_view():
    levels = [torch.ones(6, 3, 2, 2) for _ in range(4)]
    kept = torch.stack(level_dropout(levels, 0.95))[..., 0, 0]
    assert (kept.sum(dim=0) >= 1).all() and kept.mean() < 0.5


def test_both_stages_learn_from_a_real_batch():
    torch.manual_seed(0)
    scene = render_scenes([0, 1], 48, 40)
    config = ModelConfig()
    geometry = GeometryStage(config, 0.2)
    net = GLDNetworks(config)
    diffusion = DiffusionStage(net)
    for stage in (geometry, diffusion):
        losses = stage.loss(scene)
        torch.stack(list(losses.values())).sum().backward()
        assert all(torch.isfinite(v) for v in losses.values())
    assert net.encoder.pos_embed.grad is None  # frozen in the second stage
    for part in (geometry.encoder.blocks[0].attn.qkv, net.level1.final_layer.linear, net.cascade.final_layer.linear):
        assert part.weight.grad.abs().max() > 0
