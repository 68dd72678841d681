# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The engine: resuming, accumulating, averaging, its guards, its checkpoints."""

import errno
import math
import os
import resource
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from builders.stages import CONFIG, Clips, Numbers, Toy, curve, flow_stage
from pydantic import ValidationError

import gld_ros
from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.reports.provenance import git_revision
from gld_ros.training import checkpoint
from gld_ros.training.config import OptimizerConfig
from gld_ros.training.data import Numbered
from gld_ros.training.engine import Engine
from gld_ros.training.optimizer import Average, rate_factor
from gld_ros.training.records import Records


@contextmanager
def file_limit(size: int):
    """Writes fail where a file would be longer."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


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


def test_muon_trains_the_blocks_and_adamw_the_rest_and_both_resume(tmp_path):
    config = replace(CONFIG, steps=3, save_every=2, optimizer=replace(CONFIG.optimizer, kind="muon", warmup=2))
    ends = []
    for name in ("whole", "parts"):
        stage = flow_stage()
        engine = Engine(stage, config, tmp_path / name)
        if name == "parts":
            (tmp_path / name).mkdir()
            shutil.copy(tmp_path / "whole" / "checkpoint-00000002.safetensors", tmp_path / name)
            engine = Engine(stage, config, tmp_path / name)
            assert engine.step == 2
        assert engine.fit(Numbered(Clips()))
        ends.append(checkpoint.read(checkpoint.latest(tmp_path / name))[0])
        rates = {group["lr"] for optimizer in engine.optimizers.values() for group in optimizer.param_groups}
        assert len(engine.optimizers) == 2 and len(rates) == 1, "one schedule"
    whole, parts = ends
    assert whole.keys() == parts.keys() and all(torch.equal(whole[key], parts[key]) for key in whole)
    names = {name for name, parameter in stage.named_parameters() if parameter.requires_grad}
    held = {kind: {key.split("/")[2] for key in whole if key.startswith(f"{kind}/")} for kind in ("adam", "muon")}
    assert held["adam"] | held["muon"] == names and not held["adam"] & held["muon"]
    assert held["muon"] == {n for n in names if ".blocks." in n and stage.get_parameter(n).ndim == 2}


def test_muon_without_transformer_blocks_is_refused(tmp_path):
    config = replace(CONFIG, optimizer=replace(CONFIG.optimizer, kind="muon"))
    with pytest.raises(InvalidRequest, match="optimizer.kind is 'muon', but no transformer block.* expected 'adamw'"):
        Engine(Toy(), config, tmp_path).fit(Numbered(Numbers()))
    with pytest.raises(ValidationError, match="kind\n  Input should be 'adamw' or 'muon'"):
        replace(CONFIG.optimizer, kind="sgd")


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


@pytest.mark.parametrize("processes", (1, 2))
def test_a_signal_while_processes_agree_is_not_lost(tmp_path, monkeypatch, processes):
    """It comes in the reduction of step 3, too late for this one: alone the run ends at once, else a step later."""
    engine = Engine(Toy(), CONFIG, tmp_path)
    reduce = engine.accelerator.reduce

    def late(*args, **kwargs):
        found = reduce(*args, **kwargs)
        if engine.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(engine.accelerator, "reduce", late)
    monkeypatch.setattr(Engine, "_alone", processes == 1)
    assert not engine.fit(Numbered(Numbers()))
    assert engine.step == 2 + processes and checkpoint.read(checkpoint.latest(tmp_path))[1].step == engine.step


def test_inside_anothers_repository_the_revision_is_the_version(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    someone = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", tmp_path, *someone, "commit", "-qm", "a", "--allow-empty"], check=True)
    (tmp_path / "libraries" / "gld_ros").mkdir(parents=True)
    monkeypatch.setattr(gld_ros, "__file__", str(tmp_path / "libraries" / "gld_ros" / "__init__.py"))
    assert git_revision() == gld_ros.__version__
    monkeypatch.setattr(gld_ros, "__file__", str(tmp_path / "gld_ros" / "__init__.py"))
    (tmp_path / "gld_ros").mkdir()
    assert len(git_revision()) == 40


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
    with (
        file_limit(200),
        pytest.raises(ModelError, match=r"00000006.*could not be saved.*00000005.safetensors is intact"),
    ):
        engine.save()
    assert [p for p in tmp_path.iterdir() if "checkpoint" in p.name] == [previous]
    assert previous.read_bytes() == content
    assert Engine(Toy(), replace(CONFIG, steps=5), tmp_path).step == 5


def test_a_full_disk_in_training_ends_it_with_the_reason(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(ModelError, match="No space left on device.*MB are free"):
        Engine(Toy(), CONFIG, tmp_path).fit(Numbered(Numbers()))


def test_a_full_disk_while_recording_names_the_checkpoint(tmp_path):
    Engine(Toy(), replace(CONFIG, steps=5), tmp_path).fit(Numbered(Numbers()))
    records = Records(tmp_path, 5)
    with (
        file_limit(records.log.stat().st_size + 10),
        pytest.raises(ModelError, match=r"could not be written.*go on from: .*00000005.safetensors"),
    ):
        records.write(6, {"loss": 1.0})
    records.close()


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


def test_batches_by_number_cover_the_stream_once():
    data = Numbered(lambda n: n)
    two = [iter(data.batches(0, rank, 2)) for rank in (0, 1)]
    assert [next(two[k % 2]) for k in range(6)] == list(range(6))
    later = iter(data.batches(3, 1, 2))
    assert [next(later), next(later)] == [7, 9]
