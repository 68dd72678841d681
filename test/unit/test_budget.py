# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A time budget: the cost model, what it picks, and that no budget is exceeded, on a machine whose clock is made up."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.models import tiny
from builders.official_folder import small_config

from gld_ros.cli import main
from gld_ros.diffusion.sampler import SOLVERS, Sampling, integrate
from gld_ros.errors import InvalidRequest, ModelError, RequestTimeout
from gld_ros.evaluation.memory_use import write_random_model
from gld_ros.generators.method import Options
from gld_ros.generators.presets import preset
from gld_ros.networks.configs import (
    DiTConfig,
    DPTConfig,
    EncoderConfig,
    FlowConfig,
    MatchingConfig,
    ModelConfig,
    RGBDecoderConfig,
)
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.released import GLD_DA3
from gld_ros.pipeline import GLDPipeline, calibration
from gld_ros.pipeline.budget import candidates
from gld_ros.pipeline.calibration import Probe, wall_views
from gld_ros.pipeline.costs import CostModel, Demand, fit, non_negative

STAGE = DiTConfig(width=32, depth=1, heads=2, head_width=32, head_depth=1, head_heads=2)
WARPED = ModelConfig(
    name="tiny-mini",
    encoder=EncoderConfig(width=32, heads=2, position_grid=4),
    dpt=DPTConfig(features=8, out_channels=(8, 8, 8, 8), hidden=8),
    matching=MatchingConfig(features=8, planes=4, widths=(8, 8, 8), fine_features=8, fine_planes=3, fine_widths=(8, 8)),
    rgb=RGBDecoderConfig(width=32, depth=1, heads=2, hidden=32, base_grid=4),
    level1=replace(STAGE, split_embedders=True),
    level0=replace(STAGE, level1_channels=64),
    flow=FlowConfig(steps=6),
    patches=12,
)


class Machine:
    """A clock that only the networks' work moves on: by what they are asked for, and noise, whatever they are."""

    def __init__(self, pipe: GLDPipeline, noise: float = 0.1) -> None:
        self.time, self.slower = 0.0, 1.0
        self._usual: dict[str, int] = {}
        self._random, self._noise = np.random.default_rng(0), noise
        for name, seconds in {"encoder": 0.04, "level1": 0.02, "level0": 0.01, "rgb": 0.05}.items():
            getattr(pipe.net, name).register_forward_pre_hook(
                lambda _, args, n=name, s=seconds: self.work(n, s, args[0])
            )
        pipe.clock = lambda: self.time

    def work(self, name: str, seconds: float, asked) -> None:
        """`asked`: images or latents (B, V, ...), or four levels of them; `seconds`: of a view of the usual size."""
        first = asked if torch.is_tensor(asked) else asked[0]
        usual = self._usual.setdefault(name, first[0, 0].numel())
        views = first.numel() / usual
        self.time += self.slower * seconds * (1 + views) * np.exp(self._random.normal(0, self._noise))


def joint() -> GLDPipeline:
    """As released, with the steps of few-step models to begin with."""
    net = tiny("da3")
    config = replace(net.config, flow=replace(net.config.flow, steps=10), long_side=42)
    made = GLDNetworks(config).eval()
    made.load_state_dict(net.state_dict())
    return GLDPipeline(made, dtype=torch.float32)


def warped() -> GLDPipeline:
    """As mini, of several steps."""
    torch.manual_seed(0)
    return GLDPipeline(GLDNetworks(WARPED).eval(), dtype=torch.float32)


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """A cache folder of its own, and small pictures to measure with."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    probes = tuple(replace(probe, size=(probe.size[0] // 8, probe.size[1] // 8)) for probe in calibration.PROBES)
    monkeypatch.setattr(calibration, "PROBES", probes)


@pytest.fixture(params=[joint, warped])
def made_up(request):
    """A pipeline on a made-up machine that was measured, and its clock."""
    pipe = request.param()
    machine = Machine(pipe)
    pipe._costs = calibration.measure(pipe)
    return pipe, machine


VIEWS = wall_views(Probe(2, 2, (24, 32)))


def ask(pipe: GLDPipeline, machine: Machine, budget: float | None, **settings) -> tuple[list, float]:
    """Views, none where it was refused, and seconds, of sources never seen before."""
    pipe.forget()
    began = machine.time
    try:
        views = pipe(*VIEWS, time_budget=budget, strict_scale=False, **settings)
    except RequestTimeout:
        views = []
    return views, machine.time - began


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_200_random_budgets(made_up):
    pipe, machine = made_up
    _, alone = ask(pipe, machine, None)
    answers = []
    for share in np.exp(np.random.default_rng(1).uniform(np.log(0.1), np.log(2), 200)):
        views, seconds = ask(pipe, machine, share * alone)
        assert seconds <= 1.1 * share * alone + 0.05
        answers.append((share, views))
    refused = [share for share, views in answers if not views]
    assert 5 < len(refused) < 150 and max(refused) < 1
    picked = {view.preset: share for share, views in sorted(answers, key=lambda a: -a[0]) for view in views}
    assert picked["fast"] < picked["balanced"] < picked["exact"]
    assert all(len(views) == 2 and views[0].complete for share, views in answers if share > 1.8)


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_a_machine_slower_than_it_was_leaves_steps_out(made_up):
    """Something else takes the machine after it was measured."""
    pipe, machine = made_up
    _, alone = ask(pipe, machine, None)
    machine.slower = 1.8
    outcomes = [ask(pipe, machine, share * alone) for share in np.linspace(0.3, 2, 12)]
    for share, (_, seconds) in zip(np.linspace(0.3, 2, 12), outcomes, strict=True):
        assert seconds <= 1.1 * share * alone + 0.05
    views = [view for views, _ in outcomes for view in views]
    assert any(not view.complete for view in views)
    assert all(np.isfinite(view.image).all() for view in views)


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_what_is_asked_for_is_the_most_that_is_given(made_up):
    pipe, machine = made_up
    _, alone = ask(pipe, machine, None)
    steps = []
    (view, _), seconds = ask(pipe, machine, 10 * alone, preset="fast", steps=1, callback=steps.append)
    assert view.preset == "fast" and view.complete and seconds < alone
    assert {p.steps for p in steps if p.stage in ("level1", "level0")} == {1}


def test_sources_that_are_kept_cost_no_time():
    pipe = warped()
    machine = Machine(pipe)
    pipe._costs = calibration.measure(pipe)
    settings = {"strict_scale": False, "preset": "fast"}
    low, high = 0.0, ask(pipe, machine, None)[1]
    for _ in range(12):  # the least budget that is not refused
        budget = (low + high) / 2
        low, high = (low, budget) if ask(pipe, machine, budget, preset="fast")[0] else (budget, high)
    assert not ask(pipe, machine, 0.95 * high)[0]
    pipe(*VIEWS, **settings)
    assert pipe(*VIEWS, time_budget=0.95 * high, **settings)


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_samples_that_do_not_fit_are_left_out(made_up):
    pipe, machine = made_up
    _, alone = ask(pipe, machine, None)
    counts = set()
    for budget in (0.8 * alone, 1.6 * alone):
        views, seconds = ask(pipe, machine, budget, samples=64)
        assert views and seconds <= 1.1 * budget + 0.05
        counts |= {view.samples for view in views}
    assert max(counts) < 64
    machine.slower = 1.8  # than it was when it was measured
    for samples in (2, 3):
        views, seconds = ask(pipe, machine, 2.4 * alone, samples=samples)
        assert views and seconds <= 1.1 * 2.4 * alone + 0.05


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_no_steps_are_the_models_own_with_a_budget_too(made_up):
    pipe, machine = made_up
    _, alone = ask(pipe, machine, None)
    (free, _), _ = ask(pipe, machine, 10 * alone, steps=0)
    assert free.preset == "exact"
    for share in (0.3, 0.5, 0.8):
        views, _ = ask(pipe, machine, share * alone)
        same, _ = ask(pipe, machine, share * alone, steps=0)
        assert [view.preset for view in same] == [view.preset for view in views]


def test_no_time_is_no_budget(made_up):
    pipe, machine = made_up
    began = machine.time
    with pytest.raises(RequestTimeout, match="time budget of 0.001 s, 0.001 s left: the fastest view takes about"):
        pipe(*VIEWS, time_budget=0.001)
    assert machine.time == began  # at once
    for budget in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidRequest, match="time budget of .*, expected more than 0"):
            pipe(*VIEWS, time_budget=budget)


@pytest.mark.parametrize("family", [GLD_DA3, ModelConfig()], ids=["joint", "warped"])
def test_candidates_begin_with_what_is_asked_for_and_end_with_the_least(family):
    asked = Options((280, 504), preset("exact", family))
    tried = list(candidates(asked, family))
    assert tried[0] is asked
    work = [
        math.prod(candidate.size) * sum(how.steps for how in candidate.sampling(family.flow)) for candidate in tried
    ]
    assert work == sorted(work, reverse=True)
    assert tried[-1].preset.name == "fast"
    assert [how.steps for how in tried[-1].sampling(family.flow)] == [1, 1]
    assert (tried[-1].size == (140, 252)) != family.warps
    (fastest, *_) = candidates(Options((280, 504), preset("fast", family), steps=3), family)
    assert [how.steps for how in fastest.sampling(family.flow)] == [3, 3]


def test_guidance_is_counted_where_it_is_applied():
    assert Sampling(4, 1.5).evaluations() == [2, 2, 2, 2]
    assert Sampling(4, 1.5, (0.3, 0.8)).evaluations() == [1, 2, 2, 1]  # at 1, 0.75, 0.5, 0.25
    assert Sampling(3, 1.0, (0.3, 0.8)).evaluations() == [1, 1, 1]


def test_costs_are_found_again():
    true = CostModel({"encode": (0.1, 0.2, 0.0, 0.05), "level1": (0.0, 0.3, 0.02, 0.0)}, 1.0)
    rng = np.random.default_rng(0)
    measured = []
    for _ in range(8):
        request = {}
        for phase in true.coefficients:
            demand = Demand(int(rng.integers(200, 3000)), int(rng.integers(1, 3)), int(rng.integers(0, 10**6)))
            request[phase] = [(demand, true.seconds(phase, demand))]
        measured.append(request)
    found = fit(measured)
    for phase, coefficients in true.coefficients.items():
        assert found.coefficients[phase] == pytest.approx(coefficients, abs=1e-6)
    assert found.spread == 1.15
    noisy = [
        {p: [(d, s * (2 if i == 0 else 1)) for d, s in steps] for p, steps in m.items()} for i, m in enumerate(measured)
    ]
    assert fit(noisy).spread > 1.2
    A = np.array([[1.0, 1.0], [1.0, 2.0]])
    assert non_negative(A, np.array([1.0, 0.5])) == pytest.approx((0.75, 0))  # 1.5 - 0.5 x without the condition


@pytest.mark.parametrize("name", SOLVERS)
def test_sampling_that_ends_early_is_the_data_it_points_at(name):
    data, times = torch.full((1, 1, 2, 1, 1), 3.0), torch.tensor([1.0, 0.7, 0.4, 0.0])
    noise, asked = torch.randn(1, 1, 2, 1, 1), []

    def velocity(x, t):
        asked.append(t)
        return (x - data) / t.reshape(-1, 1, 1, 1, 1)  # the one path to these data

    for last in (1, 2):
        asked.clear()
        found = integrate(velocity, noise, times, name, lambda i, last=last: i >= last)
        assert torch.allclose(found, data, atol=1e-5)
        assert len(asked) == last
    curved = lambda x, t: -x  # noqa: E731
    whole = integrate(curved, noise, times, name)
    assert torch.equal(integrate(curved, noise, times, name, lambda i: i == 3), whole)
    assert not torch.allclose(integrate(curved, noise, times, name, lambda i: True), whole, atol=1e-3)


def test_a_first_request_measures_and_stores(tmp_path, caplog):
    pipe = warped()
    machine = Machine(pipe)
    stored = tmp_path / "gld_ros" / "costs"
    with pytest.raises(RequestTimeout):  # the measurement takes time, too
        pipe(*VIEWS, time_budget=0.5)
    (path,) = stored.iterdir()
    assert "was measured in" in caplog.text and str(path) in caplog.text
    assert ask(pipe, machine, 5.0)[1] < 5
    other = warped()
    Machine(other)
    assert calibration.stored_at(other) == path and other.costs() == pipe.costs()
    assert calibration.stored_at(joint()) != path
    with torch.no_grad():
        next(other.net.parameters()).add_(1)
    assert calibration.stored_at(other) != path  # other weights
    path.write_text("{}")
    with pytest.raises(ModelError, match="no cost model can be read .*gld calibrate"):
        calibration.load(path)
    again = warped()
    Machine(again)
    assert again.costs().spread >= 1.1 and calibration.load(path) == again.costs()


def test_gld_calibrate_and_gld_bench_budget(capsys, tmp_path):
    """By the real clock."""
    folder = tmp_path / "model"
    write_random_model(replace(small_config(), long_side=56), folder, "float32")
    assert main(["calibrate", str(folder), "--device", "cpu", "--repeat", "1"]) == 0
    (path,) = (tmp_path / "gld_ros" / "costs").iterdir()
    printed = capsys.readouterr().out
    assert str(path) in printed and all(name in printed for name in ("exact", "balanced", "fast", "At worst"))
    costs = json.loads(path.read_text())
    assert costs["identity"]["device"] == "cpu" and costs["spread"] >= 1.15
    out = tmp_path / "out"
    arguments = ["--device", "cpu", "--budgets", "5", "--size", "56x42", "--json", "--out", str(out)]
    assert main(["bench", "budget", str(folder), *arguments]) in (0, 1)  # whether they are kept depends on the machine
    report = json.loads(capsys.readouterr().out)
    assert report["answered"] + report["refused"] == len(report["requests"]) == 5
    assert sum(report["presets"].values()) == report["answered"]
    assert len(list((tmp_path / "gld_ros" / "costs").iterdir())) == 1  # it used what is stored
    assert (out / "budget.png").stat().st_size > 1000 and "all within" in (out / "table.md").read_text()
    assert main(["bench", "budget", str(folder), "--device", "cpu", "--budgets", "0"]) == 1
    assert main(["calibrate", str(folder), "--device", "cpu", "--repeat", "0"]) == 1
    assert "0 repeats, expected at least 1" in capsys.readouterr().err
