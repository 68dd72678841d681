# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Few-step students: what they are taught, what they learn, and the models they become part of."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from builders.stages import CONFIG, DIT, MODEL, Clips

from gld_ros.data.clips import ClipBatch
from gld_ros.diffusion.flow import interpolate, time_grid
from gld_ros.diffusion.sampler import Conditioning, Sampling
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.request import Preset, Report, Request
from gld_ros.networks.configs import FlowConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.gld import GLDNetworks
from gld_ros.pipeline import GLDPipeline
from gld_ros.plain import from_dict
from gld_ros.training import checkpoint
from gld_ros.training.config import Distillation, FlowTraining, merged, plain, restored
from gld_ros.training.data import Numbered
from gld_ros.training.distillation import DistillationStage, few_step_flow
from gld_ros.training.engine import Engine
from gld_ros.training.flow_stage import FlowStage
from gld_ros.training.latents import LatentSpace
from gld_ros.training.records import read_log
from gld_ros.training.stages import Job
from gld_ros.weights.loading import load_model, save_model

VIEWS = 3


class Coins(LatentSpace):
    """A view's latent is 1 everywhere, or -1, by whether its picture is bright: nothing tells of the targets' side, so
    the way from noise to data bends as much as it can."""

    channels, patch = 2, 8

    def encode(self, images, levels):
        bright = torch.where(images.mean(dim=(2, 3, 4)) > 0.5, 1.0, -1.0)[:, :, None, None, None]
        return {k: bright.expand(*images.shape[:2], *self.shape(images.shape[-2:])) for k in levels}

    def decode(self, latents, sources):
        return latents[min(latents)][:, :, :1].repeat(1, 1, 3, 1, 1)


def coins(number: int, scenes: int = 16) -> ClipBatch:
    """Grey pictures of 16 x 16 pixels, by number."""
    chance = torch.Generator().manual_seed(number)
    images = torch.rand(scenes, VIEWS, 1, 1, 1, generator=chance).expand(scenes, VIEWS, 3, 16, 16)
    K = torch.tensor([[16.0, 0, 8], [0, 16, 8], [0, 0, 1]]).expand(scenes, VIEWS, 3, 3)
    c2w = torch.eye(4).repeat(scenes, VIEWS, 1, 1)
    c2w[..., 0, 3] = torch.rand(scenes, VIEWS, generator=chance)
    return ClipBatch(images, K, c2w, None, [str(number)] * scenes)


def student(dit: MultiViewDiT, windows: int, steps: int, guidance: float = 1.0) -> DistillationStage:
    options = FlowTraining(sources=(1, 1), camera_dropout=0.0, distill=Distillation(windows, steps, guidance))
    return DistillationStage(Coins(), dit, 1, None, MODEL.flow, options)


def coin_dit(prediction: str = "velocity", shaken: float = 0.0) -> MultiViewDiT:
    """As at initialisation, or with every parameter moved."""
    torch.manual_seed(5)
    dit = MultiViewDiT(2, 8, replace(DIT, prediction=prediction))
    for parameter in dit.parameters():
        parameter.data += shaken * torch.randn_like(parameter)
    return dit


def settings(steps: int, rate: float):
    optimizer = replace(CONFIG.optimizer, learning_rate=rate, schedule="cosine", ema=0.95, ema_warmup=True)
    return replace(CONFIG, steps=steps, optimizer=optimizer, save_every=1000)


@pytest.mark.parametrize("prediction", ["velocity", "data"])
@pytest.mark.parametrize("windows", [1, 3])
def test_a_straight_teacher_has_nothing_to_teach(prediction, windows):
    """A network that always says the same, whatever it sees: its velocity is constant, or points to one place."""
    dit = coin_dit(prediction)
    dit.final_layer.linear.bias.data.normal_()
    stage = student(dit, windows, 3)
    assert stage.loss(coins(0))["flow"].item() < 1e-8
    stage.dit.final_layer.linear.bias.data += 1
    assert stage.loss(coins(0))["flow"].item() == pytest.approx(1, rel=1e-4)


def lesson(stage: DistillationStage, batch: ClipBatch):
    """The draw of one batch with the points and velocities that the student is taught, and its latents."""
    draw, data = stage.draw(replace(batch, sources=1)), stage.space.encode(batch.images, [1])[1]
    cameras, null = stage.cameras(batch.K, batch.c2w, 1, batch.images, draw.dropped)
    with torch.no_grad():
        told = Conditioning(stage.sources_alone(batch.images[:, :1], VIEWS), cameras, null, None)
        noisy, target = stage.example(data, draw, told)
    velocity = stage.dit.config.prediction == "velocity"
    return draw, data, noisy, target if velocity else (noisy - target) / draw.t[:, None, None, None, None]


@pytest.mark.parametrize("prediction", ["velocity", "data"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_line_leads_where_the_teacher_goes(prediction, guidance):
    """From noise through one window: to what the teacher samples, guided, in as many steps."""
    stage, batch, t_end = student(coin_dit(prediction, 0.2), 1, 6, guidance), coins(1), time_grid(MODEL.flow, 6)[-1]
    draw, _, noisy, line = lesson(stage, batch)
    request = batch.images[:, :1], batch.K, batch.c2w, None, draw.noise, 6
    with torch.no_grad():
        many, other = stage.sample(*request, guidance), stage.sample(*request, 4 - guidance)
    end = noisy + (t_end - draw.t)[:, None, None, None, None] * line
    torch.testing.assert_close(end, many, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(many, other, atol=0.01)


@pytest.mark.parametrize("windows", [1, 3])
def test_the_line_begins_on_the_path_of_the_data(windows):
    stage = student(coin_dit(shaken=0.2), windows, 2)
    draw, data, noisy, line = lesson(stage, coins(2))
    begin = stage.teacher_times(draw.t, VIEWS)[0]
    assert len(begin.unique()) == windows
    start = noisy + (begin - draw.t)[:, None, None, None, None] * line
    torch.testing.assert_close(start, interpolate(data, draw.noise, begin), rtol=1e-3, atol=1e-3)


def test_windows_are_the_steps_of_sampling():
    """A time's path goes from the beginning of its window to the end, all of them along the finer grid; times lie in
    the windows' first halves, every window as often."""
    stage = student(coin_dit(), 3, 4)
    edges, fine = time_grid(MODEL.flow, 3), time_grid(MODEL.flow, 12)
    t = stage.times(torch.linspace(0.0001, 0.9999, 300), VIEWS)
    path = stage.teacher_times(t, VIEWS)
    for k in range(3):
        part = slice(100 * k, 100 * (k + 1))
        torch.testing.assert_close(path[:, part], fine[4 * k : 4 * k + 5, None].expand(5, 100))
        torch.testing.assert_close(fine[4 * k], edges[k])
        assert (t[part] <= edges[k]).all() and (t[part] >= fine[4 * k + 2]).all()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Trained as any stage is."""
    stage = FlowStage(Coins(), coin_dit(), 1, None, MODEL.flow, FlowTraining(sources=(1, 1)))
    Engine(stage, settings(150, 5e-3), tmp_path_factory.mktemp("teacher")).fit(Numbered(coins))
    return stage.dit


@pytest.mark.parametrize("windows", [1, 2])
def test_few_steps_of_the_student_do_what_many_of_the_teacher_did(tmp_path, teacher, windows):
    stage = student(copy.deepcopy(teacher), windows, 8 // windows)
    batch, noise = coins(10**6, 64), torch.randn(64, VIEWS, 2, 2, 2, generator=torch.Generator().manual_seed(3))

    @torch.no_grad()
    def targets(steps):
        return stage.sample(batch.images[:, :1], batch.K, batch.c2w, None, noise, steps, 1.0)[:, 1:]

    many, few = targets(8), targets(windows)
    Engine(stage, settings(80, 3e-3), tmp_path).fit(Numbered(coins))
    learned = targets(windows)
    before, after = ((x - many).pow(2).mean() for x in (few, learned))
    assert many.abs().mean() > 0.7  # a side of the coin, where few steps stay between
    assert after < 0.3 * before, (before, after)


class PowerCut(Exception):
    pass


def test_a_resumed_student_has_the_same_teacher(tmp_path):
    def batch(number):
        if cut and number == 3:
            raise PowerCut
        return coins(number)

    ends = []
    for name, cut in (("whole", False), ("parts", True), ("parts", False)):
        stage, config = student(coin_dit(shaken=0.2), 2, 2), replace(settings(4, 1e-2), save_every=2)
        try:
            assert Engine(stage, config, tmp_path / name).fit(Numbered(batch))
            ends.append(stage.dit.state_dict())
        except PowerCut:
            assert cut
    whole, parts = ends
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    curves = ([line["flow"] for line in read_log(tmp_path / name)] for name in ("whole", "parts"))
    assert len(set(map(tuple, curves))) == 1
    tensors, _ = checkpoint.read(checkpoint.latest(tmp_path / "whole"))
    assert any(key.startswith("model/dit.") for key in tensors)
    assert not any("teacher" in key for key in tensors)


def few_steps(start: str, stage: str, **distill):
    """A job's settings; the start has no latent statistics."""
    changes = {"stage": stage, "start": start, "fine_tune": True, "steps": 1, "flow": {"distill": distill}}
    return restored(merged(plain(CONFIG), changes))


def test_both_stages_become_one_model_of_few_steps(tmp_path):
    torch.manual_seed(4)
    net = GLDNetworks(replace(MODEL, flow=FlowConfig(t_end=0.001, steps=20, guidance_scale=1.5)))
    for part in (net.level1, net.level0):
        part.final_layer.linear.weight.data.normal_(std=0.1)
    save_model(tmp_path / "start", net, torch.float32)
    start, flows = str(tmp_path / "start"), []
    for stage, distill in (("level1", {"windows": 3, "guidance": 1.5}), ("level0", {"windows": 1})):
        config = few_steps(start, stage, teacher_steps=2, **distill)
        job = Job(config)
        teacher, given = job.stage.teacher.state_dict(), getattr(net, stage).state_dict()
        assert all(torch.equal(teacher[key], given[key]) for key in given)
        Engine(job.stage, config, tmp_path / stage).fit(Numbered(Clips()))
        start = str(tmp_path / f"{stage}-model")
        job.write(tmp_path / f"{stage}-model")
        flows.append(load_model(tmp_path / f"{stage}-model").config.flow)
    kept = FlowConfig(t_end=0.001, steps=3, guidance_scale=1.0, level0_steps=20, level0_guidance=1.5)
    assert flows == [
        kept,
        replace(kept, level0_steps=1),
    ]  # no guidance was learned by the cascade: it still has its own
    history = json.loads((tmp_path / "level0-model" / "training.json").read_text())
    assert history["config"]["flow"]["distill"]["windows"] == 1

    made, calls = load_model(tmp_path / "level0-model"), []
    assert not torch.equal(made.level1.final_layer.linear.weight, net.level1.final_layer.linear.weight)
    for name in ("level1", "level0"):
        getattr(made, name).register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    pipe, batch = GLDPipeline(GLD(made)), Clips()(0)
    request = batch.images[:, :2], batch.K, batch.c2w
    pipe.generator.generate_tensors(*request)
    assert calls == ["level1"] * 3 + ["level0"] * 2  # with and without a condition
    calls.clear()
    pipe.generator.generate_tensors(*request, steps=2, guidance_scale=1.0)
    assert calls == ["level1"] * 2 + ["level0"] * 2


def test_a_stage_without_steps_of_its_own_has_those_of_the_model():
    old = from_dict(FlowConfig, {"steps": 8, "guidance_scale": 1.5})
    assert old.sampling("level1") == old.sampling("level0") == (8, 1.5)
    assert old.sampling("level0", 3, 0.0) == (3, 0.0)
    few = few_step_flow(old, "level0", Distillation(1, 8, 1.5))
    assert (few.sampling("level1"), few.sampling("level0")) == ((8, 1.5), (1, 1.0))
    seen = []
    preset = Preset("few", {"level1": Sampling(4), "level0": Sampling(1)})
    report = Report(Request([], [], (8, 8), preset), seen.append)
    for phase in ("encode", *["level1"] * 4, "level0", "decode"):
        report(phase)
    assert [(p.step, p.steps) for p in seen] == [(1, 1), (1, 4), (2, 4), (3, 4), (4, 4), (1, 1), (1, 1)]
    assert seen[-1].fraction == 1
