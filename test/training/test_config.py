# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Configurations, and the jobs made of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders.stages import CONFIG, MODEL, Clips

from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.networks.gld import GLDNetworks
from gld_ros.training import checkpoint
from gld_ros.training.config import load_config, merged, plain, restored
from gld_ros.training.data import Numbered
from gld_ros.training.engine import Engine
from gld_ros.training.stages import Job, open_data
from gld_ros.weights.loading import load_model, save_model


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
        ("batchsize: 3", None, "unknown setting batchsize"),
        ("optimizer: {lr: 3}", None, r"unknown setting optimizer\.lr"),
        ("model: {level1: {widht: 3}}", None, "widht"),
        ("batch: many", None, "batch is 'many', expected a valid integer"),
        (
            "optimizer: {schedule: step}",
            None,
            "optimizer.schedule is 'step', expected 'constant', 'cosine' or 'linear'",
        ),
        ("flow: {sources: [2, 8]}", None, "flow.sources is 2..8"),
        ("batch: true", None, "batch is True, expected a valid integer"),
        ("batch: 0", None, "batch is 0, expected at least 1"),
        ("optimizer: 3", None, "optimizer is 3, "),
        ("optimizer: {learning_rate: 5e-5x}", None, "optimizer.learning_rate is '5e-5x', expected a valid number"),
        ("level_dropout: 1.0", None, "level_dropout is 1.0, expected less than 1"),
        ("start: 2020-01-01", None, "training configuration: Object of type date"),
        ("batch: [", None, "not a readable YAML file"),
        ("", "batch", "expected key=value"),
        ("", "batch=[", r"--set batch=\[: not a readable YAML value"),
        ("stage: level0", None, "stage is 'level0', but 'level1' was asked for"),
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
        assert not config.model_config().warps
    assert json.dumps(checkpoint.Progress(0, 0, 0, 1, {}, "").__dict__)


def distilled(**changes):
    """Changes of a configuration that make the stage a student of two steps."""
    return merged({"fine_tune": True, "flow": {"distill": {"windows": 2}}}, changes)


def saved_start(folder):
    """A tiny model's folder, its latent statistics not taken yet."""
    torch.manual_seed(4)
    save_model(folder, GLDNetworks(MODEL), torch.float32)
    return str(folder)


def test_a_chain_of_stages_gives_one_model(tmp_path):
    """Each job takes a model folder and leaves one: what it trains is new, the rest is that of the start."""
    start = saved_start(tmp_path / "start")
    given = load_model(tmp_path / "start").state_dict()
    for stage in ("level1", "level0"):
        config = replace(CONFIG, stage=stage, start=start, steps=2)
        job = Job(config)
        Engine(job.stage, config, tmp_path / stage).fit(Numbered(Clips()))
        job.write(tmp_path / f"{stage}-model")
        start = str(tmp_path / f"{stage}-model")
    made = load_model(tmp_path / "level0-model").state_dict()
    level1 = load_model(tmp_path / "level1-model").state_dict()
    assert made.keys() == given.keys()
    for key in given:
        expected = level1 if key.startswith("level1") else given
        if key.split(".")[0] not in ("level0", "level0_mean", "level0_var"):
            assert torch.equal(made[key], expected[key]), key
    for key in ("level0.final_layer.linear.weight", "level0_mean", "level1_mean", "level1.final_layer.linear.weight"):
        assert not torch.equal(made[key], given[key]), key
    history = json.loads((tmp_path / "level0-model" / "training.json").read_text())
    assert history["config"]["stage"] == "level0" and history["revision"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow": {"statistics_batches": 0}}, "no latent statistics: set flow.statistics_batches"),
        ({"model": {"encoder": {"width": 48}}}, "is of another shape than in `model`; it is not trained"),
        ({"model": {"level1": {"level1_channels": 64}}}, "level1_channels is 64, but the given level is None"),
        ({"start": ""}, "trains on a frozen encoder: give its model folder as start="),
        ({"start": "nowhere/at-all"}, "nowhere"),
        ({"start": "mini"}, "model 'mini' warps its sources"),
        (
            {"stage": "rgb-decoder", "lpips_weight": 0.0, "discriminator": {"kind": "dino"}},
            "give discriminator.weights=FILE",
        ),
        ({"stage": "rgb-decoder", "lpips": "nowhere"}, "LPIPS needs"),
        (distilled(fine_tune=False), "fine_tune: true is needed"),
        (distilled(start=""), "the teacher is the stage of start="),
        (distilled(flow={"distill": {"windows": -1}}), "flow.distill.windows is -1, expected at least 0"),
        (distilled(flow={"distill": {"teacher_steps": 0}}), "flow.distill.teacher_steps is 0, expected at least 1"),
        (distilled(flow={"shift_dim": 64}), "flow.shift_dim cannot be given"),
        (distilled(model={"level1": {"prediction": "regression"}}), "one step already: nothing to distill"),
        ({"data": {"fresh-rooms:": 1.0, "re10k:/data": 1.0}}, "two sources and two targets, and stands alone"),
    ],
)
def test_jobs_that_cannot_be_are_named(tmp_path, changes, message):
    plain_config = merged(plain(replace(CONFIG, start=saved_start(tmp_path))), changes)
    with pytest.raises((InvalidRequest, ModelError), match=message):
        config = restored(plain_config)
        Job(config)
        open_data(config, tmp_path)


def test_cached_latents_are_for_the_stages_that_read_them(tmp_path):
    with pytest.raises(InvalidRequest, match="cache:../cache stands alone, for stages of gld train mini; stage level1"):
        open_data(replace(CONFIG, data={"cache:../cache": 1.0}), tmp_path / "level1")
    with pytest.raises(InvalidRequest, match="no shard with level1 and at least 2 scenes"):
        open_data(replace(CONFIG, data={"cache:../cache": 1.0}), tmp_path / "level1", ("level1",))


def test_missing_lpips_weights_are_skipped_with_a_notice(tmp_path):
    with pytest.warns(UserWarning, match="trains without LPIPS"):
        job = Job(replace(CONFIG, stage="rgb-decoder", start=saved_start(tmp_path)))
    assert job.stage.perceptual is None
