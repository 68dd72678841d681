# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The RGB decoder's training on views that the model generates itself."""

from dataclasses import replace

import pytest
import torch
from builders.stages import small_perceptual
from torch import nn

from gld_ros.errors import InvalidRequest
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gld import GLDNetworks
from gld_ros.training.decoder_stage import DecoderTraining
from gld_ros.training.generated_stage import FIELDS, GeneratedStage, GeneratedTraining, hidden_crops
from gld_ros.training.latent_cache import CachedLatents, LatentBatch, SceneEncoder, ShardPlan, shard_path
from gld_ros.training.perceptual import Perceptual
from gld_ros.weights.tensor_files import write_tensors

PLAIN = GeneratedTraining(DecoderTraining(perceptual_weight=0.0, patch_weight=0.0), level1_steps=(2,))


@pytest.fixture(scope="module")
def net() -> GLDNetworks:
    torch.manual_seed(0)
    net = GLDNetworks(ModelConfig()).eval()
    for dit in (net.level1, net.level0):
        nn.init.normal_(dit.final_layer.linear.weight, std=0.1)  # it begins at zero, and all draws would be alike
    return net


@pytest.fixture(scope="module")
def batch(net, tmp_path_factory) -> LatentBatch:
    folder, plan = tmp_path_factory.mktemp("cache"), ShardPlan(shards=1, first_seed=40, scenes=2)
    write_tensors(shard_path(folder, 0), SceneEncoder(net, torch.device("cpu"), compiled=False)(plan, 0))
    return CachedLatents(folder, 2, FIELDS).read(0).to("cpu")


def test_generated_views_teach_the_decoder_alone(net, batch):
    stage = GeneratedStage(net, PLAIN)
    losses = stage.generated_losses(batch)
    assert losses["generated_anchor"] == 0  # nothing was learned yet
    assert losses["_generated_sharpness"] == losses["_sharpness_before"]
    losses["generated_patches"].backward()
    taught = {name.split(".")[1] for name, p in stage.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"rgb"}
    net.zero_grad()
    assert not any(name.startswith("before.") for name, _ in stage.named_parameters() if name in stage.kept())


def test_the_true_depth_teaches_the_geometry_head(net, batch):
    stage = GeneratedStage(net, PLAIN)
    assert "generated_depth" not in stage.generated_losses(batch)
    stage.step = 1
    stage.generated_losses(batch)["generated_depth"].backward()
    taught = {name.split(".")[1] for name, p in stage.named_parameters() if p.grad is not None and p.grad.any()}
    assert "dpt" in taught and not taught & {"encoder", "level1", "level0", "matching"}
    net.zero_grad()


def test_crops_show_what_no_source_saw():
    hidden = torch.zeros(2, 40, 60)
    hidden[:, :, 40:] = 1
    place = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij"))
    views = place.repeat(2, 1, 1, 1)
    made, real = hidden_crops(views, views + 1, hidden, 16, tries=60)
    assert made.shape == (2, 2, 16, 16) and torch.equal(made + 1, real)
    assert (made[:, 1] >= 40).float().mean() > 0.8


def test_colours_of_areas_are_held_where_they_were(net, batch):
    stage = GeneratedStage(net, PLAIN)
    with torch.no_grad():
        for parameter in stage.net.rgb.decoder_pred.parameters():
            parameter += 0.3
    try:
        assert stage.generated_losses(batch)["generated_anchor"] > 0.01
    finally:
        net.rgb.load_state_dict(stage.before.state_dict())


def test_draws_differ_and_keep_to_the_batch(net, batch):
    stage = GeneratedStage(net, PLAIN)
    views = batch.K.shape[1]
    torch.manual_seed(1)
    first = stage.generate(batch)
    torch.manual_seed(1)
    again, other = stage.generate(batch), stage.generate(batch)
    assert len(first) == 4 and first[0].shape[:2] == (2, views)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.allclose(first[0], other[0])


def test_the_critic_judges_generated_views(net, batch, monkeypatch):
    monkeypatch.setattr(Perceptual, "lite0", small_perceptual)
    losses = GeneratedStage(net, replace(PLAIN, decoder=DecoderTraining(adversarial_after=0))).loss(batch)
    assert {"l1", "generated_critic", "generated_painter", "generated_patches"} <= losses.keys()
    assert all(value.isfinite() for value in losses.values())


def test_a_model_without_warps_is_refused():
    config = replace(ModelConfig(), name="plain", matching=None)
    with pytest.raises(InvalidRequest, match="'plain' has no warp conditioning"):
        GeneratedStage(GLDNetworks(config), PLAIN)
