# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Losses, latent spaces, and one real step of every stage."""

from dataclasses import replace

import pytest
import torch
from builders.stages import CONFIG, MODEL, Clips, flow_stage

from gld_ros.cli import main
from gld_ros.data.augment import photometric
from gld_ros.errors import InvalidRequest
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.gld import GLDNetworks
from gld_ros.training.adversarial import Adversary, ConvDiscriminator
from gld_ros.training.config import DiscriminatorConfig
from gld_ros.training.data import Numbered
from gld_ros.training.depth_stage import DepthStage
from gld_ros.training.engine import Engine
from gld_ros.training.flow_stage import FlowStage
from gld_ros.training.image_stages import EncoderStage, GeometryStage, RGBDecoderStage, decoder_features
from gld_ros.training.latents import GeometricLatents, RunningStatistics
from gld_ros.training.losses import level_dropout
from gld_ros.training.mini import MiniTraining, train_mini
from gld_ros.training.records import read_log
from gld_ros.weights.loading import load_model


def test_level_dropout_never_drops_all_levels_of_a_view():
    levels = [torch.ones(6, 3, 2, 2) for _ in range(4)]
    kept = torch.stack(level_dropout(levels, 0.95))[..., 0, 0]
    assert (kept.sum(dim=0) >= 1).all() and kept.mean() < 0.5


def test_running_statistics_are_exact():
    x = torch.randn(100, 3) * 5 + torch.tensor([1e3, 0, -7])
    found = RunningStatistics()
    for part in (x[:7], x[7:8], x[8:]):
        found.add(part)
    torch.testing.assert_close(found.mean, x.double().mean(dim=0))
    torch.testing.assert_close(found.variance, x.double().var(dim=0))


def test_augmented_pictures_stay_pictures_of_the_same_scene():
    torch.manual_seed(0)
    images = Clips(8)(0).images
    changed = photometric(images, 0.5)
    assert changed.shape == images.shape and changed.min() >= 0 and changed.max() <= 1
    untouched = (changed == images).flatten(1).all(dim=1)
    assert 0 < untouched.sum() < 8
    pairs = torch.stack([images[~untouched].flatten(0, 1).flatten(1), changed[~untouched].flatten(0, 1).flatten(1)])
    likeness = [torch.corrcoef(pair)[0, 1] for pair in pairs.transpose(0, 1)]
    assert min(likeness) > 0.5
    gains = (changed / images.clamp_min(0.05)).mean(dim=(2, 3, 4))[~untouched]
    assert (gains[:, 0] - gains[:, 1]).abs().min() > 1e-3, "every view has an exposure of its own"
    assert torch.equal(photometric(images, 0.0), images)


@pytest.mark.parametrize("level0", [False, True], ids=["level1", "level0"])
@pytest.mark.parametrize("prediction", ["velocity", "data", "regression"])
def test_diffusion_stages_overfit_one_batch(tmp_path, level0, prediction):
    stage = flow_stage(level0, camera_dropout=0.0)
    stage.dit.config = replace(stage.dit.config, prediction=prediction)
    one = Clips()(0)
    config = replace(CONFIG, steps=60, save_every=100, optimizer=replace(CONFIG.optimizer, learning_rate=3e-3))
    Engine(stage, config, tmp_path).fit(Numbered(lambda _: one))
    losses = [line["flow"] for line in read_log(tmp_path)]
    start, end = sum(losses[:10]) / 10, sum(losses[-10:]) / 10
    assert end < 0.75 * start
    mean, variance = stage.space.net.level1_mean, stage.space.net.level1_var
    assert mean.abs().max() > 0 and (variance != 1).any()  # measured before the first step


def test_sources_are_encoded_alone_and_their_latents_given(monkeypatch):
    """Condition: the sources' own encoding, zeros for targets; one time a scene; dropped scenes have no rays."""
    stage, batch = flow_stage(camera_dropout=1.0), Clips()(0)
    calls = []
    hook = stage.dit.register_forward_pre_hook(lambda _, args: calls.append(args))
    torch.manual_seed(3)
    stage.loss(batch)
    hook.remove()
    noisy, base, t, camera_map, tables, S, given = calls[0]
    assert noisy.shape == (2, 4, 64, 3, 4) and t.shape == (2,) and given is None
    torch.manual_seed(3)
    draw = stage.draw(batch)
    alone = stage.space.encode(batch.images[:, draw.order[:S]], [1])[1]
    torch.testing.assert_close(base[:, :S], alone)
    assert (base[:, S:] == 0).all() and sorted(draw.order) == [0, 1, 2, 3]
    assert (camera_map[:, :, 1:] == 0).all() and (camera_map[:, S:, 0] == 1).all() and (camera_map[:, :S, 0] == 0).all()
    stage.options = replace(stage.options, camera_dropout=0.0)
    torch.manual_seed(3)
    hook = stage.dit.register_forward_pre_hook(lambda _, args: calls.append(args))
    stage.loss(batch)
    hook.remove()
    assert (calls[1][3][:, :, 1:] != 0).any()


def test_noise_on_the_given_level_keeps_its_variance():
    stage, torch_seed = flow_stage(True), torch.manual_seed(0)
    latent = torch.randn(3, 4, 64, 16, 16)
    noised = stage.noised(latent, torch.tensor([0.0, 0.5, 3.0]))
    assert torch.equal(noised[0], latent[0]) and torch_seed is not None
    assert noised.std(dim=(1, 2, 3, 4)).tolist() == pytest.approx([1, 1, 1], abs=0.02)
    assert not torch.allclose(noised[1], latent[1], atol=0.1)


@pytest.mark.parametrize("name", ["encoder", "rgb-decoder"])
def test_encoder_and_rgb_decoder_learn_from_a_real_batch(name):
    torch.manual_seed(0)
    net, batch = GLDNetworks(MODEL), Clips()(0)
    if name == "encoder":
        stage = EncoderStage(net, 0.3, propagation=1.0)
    else:
        judge = Adversary(ConvDiscriminator(8), DiscriminatorConfig(use_after=1))
        stage = RGBDecoderStage(net, 0.5, propagation=1.0, adversary=judge)
    stage.step = 1
    losses = stage.loss(batch)
    assert all(torch.isfinite(v) for v in losses.values())
    torch.stack([v for k, v in losses.items() if not k.startswith("_")]).sum().backward()
    assert net.rgb.decoder_pred.weight.grad.abs().max() > 0
    assert (net.encoder.blocks[0].attn.qkv.weight.grad is None) == (name == "rgb-decoder")
    assert any(key.startswith("encoder") for key in stage.kept()) == (name == "encoder")
    assert stage.sheet(batch).shape[0] == 3


def test_decoders_that_enlarge_are_trained_with_the_encoder_but_not_alone():
    torch.manual_seed(0)
    net = GLDNetworks(replace(MODEL, rgb=replace(MODEL.rgb, upscale=2, tail=8)))
    stage = EncoderStage(net, 0.3, propagation=0.0)
    stage.loss(Clips()(0))["rgb"].backward()
    assert net.rgb.tail.out.weight.grad.abs().max() > 0 and stage.sheet(Clips()(0)).shape[0] == 3
    with pytest.raises(InvalidRequest, match="rgb.upscale is 2, expected 1"):
        RGBDecoderStage(net, 0.5)


def test_propagated_features_share_the_first_views_token():
    torch.manual_seed(0)
    net, images = GLDNetworks(MODEL), Clips()(0).images
    true, _ = decoder_features(net.encoder, images, False)
    propagated, _ = decoder_features(net.encoder, images, True)
    assert all(torch.equal(a, b) for a, b in zip(true[:2], propagated[:2], strict=True))
    assert not any(torch.allclose(a, b) for a, b in zip(true[2:], propagated[2:], strict=True))


def test_the_first_stages_of_mini_learn_from_a_real_batch():
    torch.manual_seed(0)
    batch, net = Clips()(0), GLDNetworks(ModelConfig())
    for make in (lambda: GeometryStage(net, 0.2), lambda: DepthStage(net, 0.5)):
        net.requires_grad_(True)
        stage = make()
        net.zero_grad()
        losses = stage.loss(batch)
        torch.stack([v for k, v in losses.items() if not k.startswith("_")]).sum().backward()
        assert all(torch.isfinite(v) for v in losses.values())
        trained = isinstance(stage, GeometryStage)
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in net.encoder.parameters()) == trained
        for head in (net.matching.planes, net.matching.first, net.matching.fine.leave):
            assert head.weight.grad is not None and head.weight.grad.abs().max() > 0, "each sweep learns"


def test_mini_goes_on_from_a_model_with_the_stages_asked_for(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    net = GLDNetworks(ModelConfig())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    monkeypatch.setattr("gld_ros.training.stages.Rooms", lambda *_, **__: Clips())
    plan = MiniTraining(stages=("depth",), start="a sha256", depth_steps=2, device="cpu")
    assert train_mini(tmp_path, tmp_path / "model", net, plan)
    with pytest.raises(InvalidRequest, match="start: 'a sha256', now 'another'"):
        train_mini(tmp_path, tmp_path / "model", net, replace(plan, start="another"))
    with pytest.raises(InvalidRequest, match="stages depth go on from a model"):
        train_mini(tmp_path, tmp_path / "model", net, replace(plan, start=""))
    options = ["--run", str(tmp_path), "--start", "mini", "--stages", "depth", "--depth-steps", "2", "--device", "cpu"]
    assert main(["train", "mini", *options]) == 1 and "start: 'a sha256', now '" in capsys.readouterr().err
    changed = {
        k.split(".")[0] for k, v in load_model(tmp_path / "model").state_dict().items() if not close(v, before[k])
    }
    assert changed == {"matching"} and not (tmp_path / "geometry").exists()
    with pytest.raises(
        InvalidRequest, match="stages flow: expected some of geometry, depth, cache, decoder, level1, level0"
    ):
        train_mini(tmp_path, tmp_path / "model", net, MiniTraining(stages=("flow",)))


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Within what float16 files keep."""
    return torch.allclose(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("level", "given"), [(0, None), (2, None), (3, None), (0, 2)])
def test_any_level_may_be_the_boundary(level, given):
    torch.manual_seed(2)
    net = GLDNetworks(MODEL)
    dit = net.level1 if given is None else net.level0
    stage = FlowStage(GeometricLatents(net), dit, level, given, MODEL.flow, CONFIG.flow)
    stage.prepare(Numbered(Clips()).batches(0))
    batch = Clips()(0)
    losses = stage.loss(batch)
    latents = stage.space.encode(batch.images, stage.levels)
    assert torch.isfinite(losses["flow"]) and latents[level].std() == pytest.approx(1, abs=0.3)
    made = stage.sample(batch.images[:, :2], batch.K, batch.c2w, latents.get(given), steps=2)
    assert made.shape == latents[level].shape
    picture = stage.space.decode({**latents, level: made}, batch.images[:, :2])
    assert picture.shape == batch.images.shape and torch.isfinite(picture).all()


def test_decoding_true_latents_of_both_levels_is_decoding_the_propagated_features():
    torch.manual_seed(2)
    net, images = GLDNetworks(MODEL), Clips()(0).images
    space = GeometricLatents(net)
    features, grid = decoder_features(net.encoder, images, True)
    torch.testing.assert_close(
        space.decode(space.encode(images, (0, 1)), images), net.rgb(features, grid), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("prediction", ["velocity", "data", "regression"])
def test_sampling_follows_what_the_network_predicts(monkeypatch, prediction):
    """With a network that always says the truth, sampling ends at the data."""
    stage, batch = flow_stage(), Clips()(0)
    stage.dit.config = replace(stage.dit.config, prediction=prediction)
    data, noise = torch.randn(2, 2, 4, 64, 3, 4)
    truth = noise - data if prediction == "velocity" else data
    monkeypatch.setattr(stage.dit, "forward", lambda *_: truth)
    made = stage.sample(batch.images[:, :2], batch.K, batch.c2w, noise=noise, steps=3)
    torch.testing.assert_close(made, data, rtol=0, atol=0.02)
