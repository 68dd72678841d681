"""The engine, its guards and its configuration; one real step of every stage."""

import errno
import json
import math
import resource
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from tiny import CONFIG, MODEL, Clips, Numbers, Toy, flow_stage  # noqa: E402

from gld_ros.errors import InvalidRequest, ModelError  # noqa: E402
from gld_ros.models.configs import ModelConfig  # noqa: E402
from gld_ros.models.gld import GLDNetworks  # noqa: E402
from gld_ros.training import checkpoint  # noqa: E402
from gld_ros.training.adversarial import Adversary, ConvDiscriminator, augmented  # noqa: E402
from gld_ros.training.average import Average, rate_factor  # noqa: E402
from gld_ros.training.config import DiscriminatorConfig, OptimizerConfig, load_config  # noqa: E402
from gld_ros.training.data import Numbered  # noqa: E402
from gld_ros.training.encoder_stage import EncoderStage, decoder_features  # noqa: E402
from gld_ros.training.engine import Engine  # noqa: E402
from gld_ros.training.latents import RunningStatistics  # noqa: E402
from gld_ros.training.losses import level_dropout  # noqa: E402
from gld_ros.training.mini import DiffusionStage, GeometryStage  # noqa: E402
from gld_ros.training.records import read_log  # noqa: E402
from gld_ros.training.rgb_stage import RGBDecoderStage  # noqa: E402


def curve(folder):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(folder)]


def test_resumed_equals_uninterrupted(tmp_path):
    whole, broken = Toy(), Toy()
    assert Engine(whole, CONFIG, tmp_path / "whole").fit(Numbered(Numbers()))

    class PowerCut(Numbers):
        def __call__(self, number):
            if number == 8:
                raise KeyError("power cut")
            return super().__call__(number)

    with pytest.raises(KeyError):
        Engine(broken, CONFIG, tmp_path / "parts").fit(Numbered(PowerCut()))
    assert len(curve(tmp_path / "parts")) == 8  # three steps after the checkpoint
    resumed = Toy()
    engine = Engine(resumed, CONFIG, tmp_path / "parts")
    assert engine.step == 5
    assert engine.fit(Numbered(Numbers()))
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    # Once done, the same call does nothing more and gives the same weights.
    again = Toy()
    assert Engine(again, CONFIG, tmp_path / "parts").fit(Numbered(PowerCut()))
    assert torch.equal(again.line.weight, whole.line.weight)


def test_accumulated_equals_one_large_batch(tmp_path):
    """Loss scaling: two micro steps of two scenes are one of four; schedule and average go by optimiser steps."""
    ends = []
    for scenes, accumulation in ((4, 1), (2, 2)):
        stage = Toy(chance=0.0)
        options = replace(CONFIG.optimizer, warmup=3, ema=0.5)
        config = replace(CONFIG, batch=scenes, accumulation=accumulation, optimizer=options)
        Engine(stage, config, tmp_path / str(scenes)).fit(Numbered(Numbers(scenes)))
        ends.append(stage.line.weight)
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)
    one, two = (curve(tmp_path / name) for name in ("4", "2"))
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-4)


class Broken(Toy):
    """Not finite in some micro steps."""

    def __init__(self, bad):
        super().__init__()
        self.bad, self.calls = bad, 0

    def loss(self, batch):
        self.calls += 1
        losses = super().loss(batch)
        return {k: v * torch.nan for k, v in losses.items()} if self.calls - 1 in self.bad else losses


def test_steps_without_a_finite_gradient_are_skipped_and_counted(tmp_path):
    stage = Broken({3, 4})
    engine = Engine(stage, replace(CONFIG, bad_steps=3), tmp_path)
    assert engine.fit(Numbered(Numbers()))
    assert engine.skipped == 2
    assert all(torch.isfinite(p).all() for p in stage.parameters())
    assert checkpoint.read(checkpoint.latest(tmp_path))[1].skipped == 2
    assert math.isnan(curve(tmp_path)[3]["loss"]) and math.isfinite(curve(tmp_path)[5]["loss"])


def test_too_many_bad_steps_end_the_run_and_keep_the_checkpoint(tmp_path):
    stage = Broken({7, 8, 9})
    with pytest.raises(ModelError, match=r"step 10: no finite gradient in 3 steps.*checkpoint-00000005.*learning_rate"):
        Engine(stage, replace(CONFIG, bad_steps=3), tmp_path).fit(Numbered(Numbers()))
    assert Engine(Toy(), replace(CONFIG, bad_steps=3), tmp_path).step == 5


def test_average_is_the_formula_and_leaves_buffers_alone():
    stage = Toy()
    average = Average(stage, OptimizerConfig(ema=0.9))
    expected = stage.line.weight.detach().clone()
    for step in range(1, 4):
        with torch.no_grad():
            stage.line.weight += step
            stage.seen += 1
        average.update(step)
        expected = 0.9 * expected + 0.1 * stage.line.weight.detach()
    torch.testing.assert_close(average.values["line.weight"], expected)
    assert set(average.values) == {"line.weight", "line.bias"}
    raw = stage.line.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(stage.line.weight.detach(), expected)
        assert stage.seen == 3
    assert torch.equal(stage.line.weight, raw)


def test_average_forgets_the_beginning_of_short_runs():
    stage = Toy()
    average = Average(stage, OptimizerConfig(ema=0.999, ema_warmup=True))
    with torch.no_grad():
        stage.line.weight += 1
    before = average.values["line.weight"].clone()
    average.update(1)
    torch.testing.assert_close(average.values["line.weight"] - before, torch.full((2, 3), 1 - 2 / 11))


def test_schedules():
    constant = OptimizerConfig(warmup=10)
    assert [rate_factor(s, 100, constant) for s in (0, 4, 9, 10, 99)] == [0.1, 0.5, 1, 1, 1]
    cosine = OptimizerConfig(schedule="cosine", warmup=10, final=0.1)
    assert rate_factor(55, 100, cosine) == pytest.approx(0.55) and rate_factor(100, 100, cosine) == pytest.approx(0.1)
    linear = OptimizerConfig(schedule="linear", final=0.2, decay_steps=50)
    assert rate_factor(25, 100, linear) == pytest.approx(0.6) and rate_factor(80, 100, linear) == pytest.approx(0.2)


def test_another_configuration_is_refused_by_field(tmp_path):
    Engine(Toy(), CONFIG, tmp_path).fit(Numbered(Numbers()))
    other = replace(CONFIG, batch=4, optimizer=replace(CONFIG.optimizer, learning_rate=1.0), save_every=7)
    with pytest.raises(InvalidRequest, match=r"batch: 2, now 4; optimizer.learning_rate: 0.001, now 1.0\)"):
        Engine(Toy(), other, tmp_path)
    # A longer run of a constant schedule goes on; what changes neither model nor data may differ.
    longer = Engine(Toy(), replace(CONFIG, steps=14, save_every=7, keep=5), tmp_path)
    assert longer.fit(Numbered(Numbers())) and longer.step == 14


def test_checkpoints_name_configuration_and_revision_and_are_safe_to_load(tmp_path):
    Engine(Toy(), CONFIG, tmp_path).fit(Numbered(Numbers()))
    assert [p.name for p in sorted(tmp_path.glob("*.safetensors"))] == [
        "checkpoint-00000010.safetensors",
        "checkpoint-00000012.safetensors",
    ]
    tensors, progress = checkpoint.read(checkpoint.latest(tmp_path))
    assert progress.config["optimizer"]["learning_rate"] == 1e-3 and progress.step == 12
    assert len(progress.revision) >= 7
    assert {"model/line.weight", "model/seen", "average/line.weight", "adam/exp_avg/line.weight"} <= set(tensors)


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path):
    engine = Engine(Toy(), replace(CONFIG, steps=5), tmp_path)
    engine.fit(Numbered(Numbers()))
    previous = checkpoint.latest(tmp_path)
    content = previous.read_bytes()
    engine.step = 6
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))  # writes fail in the middle of the file
    try:
        with pytest.raises(ModelError, match=r"00000006.*could not be saved.*00000005.safetensors is intact"):
            engine.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p for p in tmp_path.iterdir() if "checkpoint" in p.name] == [previous]
    assert previous.read_bytes() == content
    assert Engine(Toy(), replace(CONFIG, steps=5), tmp_path).step == 5


def test_a_full_disk_in_training_ends_it_with_the_reason(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(ModelError, match="No space left on device.*MB are free"):
        Engine(Toy(), CONFIG, tmp_path).fit(Numbered(Numbers()))


def test_a_broken_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoint-00000003.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match="checkpoint-00000003.safetensors: not a checkpoint"):
        Engine(Toy(), CONFIG, tmp_path)


def test_sample_sheets_use_the_average_and_disturb_nothing(tmp_path):
    class Drawing(Toy):
        def sheet(self, batch):
            assert torch.equal(batch.x, Numbers()(0).x) and not self.training
            torch.rand(7)
            return torch.rand(3, 4, 6)

    plain, drawing = Toy(), Drawing()
    Engine(plain, CONFIG, tmp_path / "plain").fit(Numbered(Numbers()))
    Engine(drawing, replace(CONFIG, sample_every=4), tmp_path / "drawing").fit(Numbered(Numbers()))
    assert curve(tmp_path / "plain") == curve(tmp_path / "drawing")
    names = sorted(p.name for p in (tmp_path / "drawing" / "samples").iterdir())
    assert names == [f"step-{n:08d}.png" for n in (4, 8, 12)]
    assert any((tmp_path / "plain" / "tensorboard").iterdir())


def test_configurations_come_from_yaml_and_the_command_line(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("stage: level1\nbatch: 3\noptimizer: {learning_rate: 1e-4}\nmodel: {level1: {width: 64}}\n")
    config = load_config(path, ["optimizer.ema=0.5", "data={'re10k:/data': 2}", "flow.sources=[1, 3]"], stage="level1")
    assert (config.batch, config.optimizer.learning_rate, config.optimizer.ema) == (3, 1e-4, 0.5)
    assert config.data == {"re10k:/data": 2} and config.flow.sources == (1, 3)
    assert config.model_config().level1.width == 64 and config.model_config().level1.split_embedders


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        ("batchsize: 3", None, r"unknown fields \['batchsize'\]"),
        ("optimizer: {lr: 3}", None, r"OptimizerConfig: unknown fields \['lr'\]"),
        ("model: {level1: {widht: 3}}", None, "widht"),
        ("batch: many", None, "batch is 'many', expected a int"),
        ("optimizer: {schedule: step}", None, "optimizer.schedule is 'step', expected one of constant"),
        ("flow: {sources: [2, 8]}", None, "flow.sources is 2..8"),
        ("batch: [", None, "not a readable YAML file"),
        ("", "batch", "expected key=value"),
        ("stage: cascade", None, "stage is 'cascade', but 'level1' was asked for"),
    ],
)
def test_what_cannot_be_is_named(tmp_path, text, change, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=message):
        load_config(path, [change] if change else [], stage="level1").model_config()


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "config/train").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_configurations_are_valid(path):
    config = load_config(path)
    if not config.start:
        assert config.model_config().joint
    assert json.dumps(checkpoint.Progress(0, 0, 0, 1, {}, "").__dict__)


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


@pytest.mark.parametrize("cascade", [False, True], ids=["level1", "cascade"])
@pytest.mark.parametrize("prediction", ["velocity", "data", "regression"])
def test_diffusion_stages_overfit_one_batch(tmp_path, cascade, prediction):
    stage = flow_stage(cascade, camera_dropout=0.0)
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
    stage.begin_step(1)
    losses = stage.loss(batch)
    assert all(torch.isfinite(v) for v in losses.values())
    torch.stack([v for k, v in losses.items() if not k.startswith("_")]).sum().backward()
    assert net.rgb.decoder_pred.weight.grad.abs().max() > 0
    assert (net.encoder.blocks[0].attn.qkv.weight.grad is None) == (name == "rgb-decoder")
    assert any(key.startswith("encoder") for key in stage.kept()) == (name == "encoder")
    assert stage.sheet(batch).shape[0] == 3


def test_the_judge_is_taught_by_its_own_loss_alone_and_weighed_adaptively():
    torch.manual_seed(0)
    judge = Adversary(ConvDiscriminator(8), DiscriminatorConfig(train_after=2, use_after=4, weight=0.75))
    last = nn.Conv2d(3, 3, 1)
    made, real = last(torch.rand(2, 3, 16, 16)), torch.rand(2, 3, 16, 16)
    reconstruction = (made - real).abs().mean()
    before = judge.losses(made, real, reconstruction, last.weight, 1)
    assert set(before) == {"discriminator"} and before["discriminator"] == 0
    assert set(judge.losses(made, real, reconstruction, last.weight, 3)) == {"discriminator"}
    losses = judge.losses(made, real, reconstruction, last.weight, 4)
    judge.zero_grad()
    losses["generator"].backward(retain_graph=True)
    assert all(p.grad is None for p in judge.parameters())
    ours = torch.autograd.grad(reconstruction, last.weight, retain_graph=True)[0].norm()
    theirs = last.weight.grad.norm() / (0.75 * losses["_balance"])
    assert losses["_balance"] == pytest.approx(float(ours / (theirs + 1e-6)), rel=1e-3)
    losses["discriminator"].backward()
    assert all(p.grad is not None for p in judge.parameters())


def test_augmentation_is_differentiable_and_keeps_the_shape():
    torch.manual_seed(0)
    x = torch.rand(3, 3, 16, 24, requires_grad=True)
    y = augmented(x)
    y.sum().backward()
    assert y.shape == x.shape and x.grad.abs().max() > 0 and not torch.allclose(x, y, atol=0.05)


def test_propagated_features_share_the_first_views_token():
    torch.manual_seed(0)
    net, images = GLDNetworks(MODEL), Clips()(0).images
    true, _ = decoder_features(net.encoder, images, False)
    propagated, _ = decoder_features(net.encoder, images, True)
    assert all(torch.equal(a, b) for a, b in zip(true[:2], propagated[:2], strict=True))
    assert not any(torch.allclose(a, b) for a, b in zip(true[2:], propagated[2:], strict=True))


def test_both_stages_of_mini_learn_from_a_real_batch():
    torch.manual_seed(0)
    batch, net = Clips()(0), GLDNetworks(ModelConfig())
    for make in (lambda: GeometryStage(net, 0.2), lambda: DiffusionStage(net, 1)):
        stage = make()
        net.zero_grad()
        losses = stage.loss(batch)
        torch.stack(list(losses.values())).sum().backward()
        assert all(torch.isfinite(v) for v in losses.values())
        learns = net.encoder.blocks[0].attn.qkv.weight.grad
        assert (learns is not None) == isinstance(stage, GeometryStage)
    for part in (net.level1.final_layer.linear, net.cascade.final_layer.linear):
        assert part.weight.grad.abs().max() > 0


def test_batches_by_number_cover_the_stream_once():
    data = Numbered(lambda n: n)
    two = [iter(data.batches(0, rank, 2)) for rank in (0, 1)]
    assert [next(two[k % 2]) for k in range(6)] == list(range(6))
    later = iter(data.batches(3, 1, 2))
    assert [next(later), next(later)] == [7, 9]
