# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A time budget: what is learnt, what it picks, and that no budget is exceeded, on a machine whose clock is made up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.models import tiny

from gld_ros.diffusion.sampler import SOLVERS, Sampling, integrate
from gld_ros.errors import InvalidRequest, RequestTimeout
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.request import Loading, Request
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
from gld_ros.pipeline import GLDPipeline
from gld_ros.pipeline.deadline import LEAST_SPREAD, Speed, candidates
from gld_ros.pipeline.pipeline import made_up_views

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
            getattr(pipe.generator.net, name).register_forward_pre_hook(
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
    return GLDPipeline(GLD(made, Loading(dtype=torch.float32)))


def warped() -> GLDPipeline:
    """As mini, of several steps."""
    torch.manual_seed(0)
    return GLDPipeline(GLD(GLDNetworks(WARPED).eval(), Loading(dtype=torch.float32)))


@pytest.fixture(params=[joint, warped])
def made_up(request):
    """A pipeline on a made-up machine that is warm, and its clock."""
    pipe = request.param()
    machine = Machine(pipe)
    pipe.warm_up(2, 2, SIZE)
    return pipe, machine


SIZE = (24, 32)
VIEWS = made_up_views(2, 2, SIZE)


def ask(pipe: GLDPipeline, machine: Machine, budget: float | None, given=VIEWS, **settings) -> tuple[list, float]:
    """Views, none where it was refused, and seconds, of sources never seen before."""
    pipe.forget()
    began = machine.time
    try:
        views = pipe(*given, time_budget=budget, strict_scale=False, **settings)
    except RequestTimeout:
        views = []
    return views, machine.time - began


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_random_budgets(made_up):
    pipe, machine = made_up
    _, alone = ask(pipe, machine, None)
    answers = []
    for share in np.random.default_rng(1).permutation(np.geomspace(0.1, 2, 60)):
        views, seconds = ask(pipe, machine, share * alone)
        assert seconds <= 1.1 * share * alone + 0.05
        answers.append((share, views))
    refused = [share for share, views in answers if not views]
    assert 2 < len(refused) < 45 and max(refused) < 1
    picked = {view.preset: share for share, views in sorted(answers, key=lambda a: -a[0]) for view in views}
    assert picked["fast"] < picked["balanced"] < picked["exact"]
    assert all(len(views) == 2 and views[0].complete for share, views in answers if share > 1.8)


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_the_windows_of_a_path_share_a_budget(made_up):
    pipe, machine = made_up
    pipe.generator.net.config = replace(pipe.generator.net.config, max_views=5)  # windows of 3, 1 and 1 views
    path = made_up_views(2, 5, SIZE)
    _, alone = ask(pipe, machine, None, path)
    numbers = []
    for share in (0.1, 0.7, 2):
        views, seconds = ask(pipe, machine, share * alone, path)
        assert seconds <= 1.1 * share * alone + 0.05
        numbers.append(len(views))
    assert numbers[0] < 5 and numbers[1:] == [5, 5]


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
    machine = Machine(pipe, noise=0)
    pipe.warm_up(2, 2, SIZE)
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
        assert {view.preset for view in same} == {view.preset for view in views}  # the means moved a little


def test_no_time_is_no_budget(made_up):
    pipe, machine = made_up
    began = machine.time
    with pytest.raises(RequestTimeout, match="time budget of 0.001 s, 0.001 s left: the fastest view takes about"):
        pipe(*VIEWS, time_budget=0.001)
    assert machine.time == began  # at once
    for budget in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidRequest, match="time budget of .*, expected more than 0"):
            pipe(*VIEWS, time_budget=budget)


@pytest.mark.parametrize("make", [joint, warped])
def test_candidates_begin_with_what_is_asked_for_and_end_with_the_least(make):
    generator = make().generator
    asked = Request(*VIEWS, (280, 504), generator.preset("exact"))
    tried = list(candidates(generator, asked))
    assert tried[0] is asked
    work = [math.prod(one.size) * sum(how.steps for how in one.preset.sampling.values()) for one in tried]
    assert work == sorted(work, reverse=True)
    assert tried[-1].preset.name == "fast"
    assert [how.steps for how in tried[-1].preset.sampling.values()] == [1, 1]
    assert (tried[-1].size == (140, 252)) == generator.limits.any_size
    fast = replace(asked, preset=generator.preset("fast").changed(3))
    (fastest, *_) = candidates(generator, fast, 3)
    assert [how.steps for how in fastest.preset.sampling.values()] == [3, 3]
    guided = replace(asked, preset=generator.preset("exact").changed(None, 2.5))
    assert all(
        how.guidance_scale == 2.5 for one in candidates(generator, guided) for how in one.preset.sampling.values()
    )


def test_guidance_is_counted_where_it_is_applied():
    assert Sampling(4, 1.5).evaluations() == [2, 2, 2, 2]
    assert Sampling(4, 1.5, (0.3, 0.8)).evaluations() == [1, 2, 2, 1]  # at 1, 0.75, 0.5, 0.25
    assert Sampling(3, 1.0, (0.3, 0.8)).evaluations() == [1, 1, 1]


def test_means_are_learnt_for_each_phase_and_magnitude():
    speed = Speed()
    assert speed.seconds("level1", 100) == 0 and speed.knows({"encode": [0.0]}) and not speed.knows({"level1": [1.0]})
    speed.learn("level1", [100, 100], 4.0)
    assert speed.seconds("level1", 100) == pytest.approx(2) and speed.seconds("level1", 200) == pytest.approx(4)
    assert 1 < speed.seconds("level1", 50) < 2  # less work has overheads
    assert speed.seconds("decode", 100) == 0 and speed.seconds("decode", 100, guess=True) == pytest.approx(2)
    for _ in range(40):
        speed.learn("level1", [1000], 5.0)
        speed.learn("encode", [0.0], 9.0)  # what was kept says nothing
    assert speed.seconds("level1", 1000) == pytest.approx(5) and speed.seconds("level1", 100) == pytest.approx(2)
    assert not speed.knows({"encode": [1.0]})


def test_what_varies_is_trusted_less():
    speed = Speed()
    assert speed.spread == LEAST_SPREAD
    for taken in (1.0, 2.0, 1.0, 2.0):
        speed.judge(taken, 1.0)
    assert 1.5 < speed.spread < 3


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


@pytest.mark.filterwarnings("ignore:the generated views contradict")
@pytest.mark.parametrize("make", [joint, warped])
def test_a_first_request_starts_as_asked_for_and_leaves_out_steps_as_it_goes(make):
    pipe = make()
    machine = Machine(pipe)
    _, alone = ask(pipe, machine, None)
    outcomes = []
    for share in (0.7, 0.8, 0.9, 3.0):
        pipe.speed = Speed()
        views, seconds = ask(pipe, machine, share * alone)
        assert seconds <= 1.1 * share * alone + 0.05
        outcomes.append(views)
    assert all(view.preset == "exact" for views in outcomes for view in views)
    assert any(not view.complete for views in outcomes for view in views)
    assert all(view.complete for view in outcomes[-1])


def test_a_machine_that_was_slow_for_a_while_is_tried_again_after_a_rest():
    pipe = warped()
    machine = Machine(pipe)
    pipe.warm_up(2, 2, SIZE)
    _, alone = ask(pipe, machine, None)
    machine.slower = 10.0
    for _ in range(6):
        ask(pipe, machine, None)
    machine.slower = 1.0
    assert ask(pipe, machine, 1.5 * alone) == ([], 0.0)  # at once: so it was a moment ago
    machine.time += 10.0
    assert ask(pipe, machine, 1.5 * alone)[0]
    assert ask(pipe, machine, 0.01 * alone) == ([], 0.0)


def test_without_a_limit_the_device_is_waited_for_once_a_phase():
    pipe, reads = warped(), []
    pipe.clock = lambda: reads.append(0) or float(len(reads))
    pipe(*VIEWS)
    assert len(reads) == 2 + len(("encode", "condition", "level1", "level0", "decode"))


def test_no_views_are_late_even_where_the_last_phase_takes_too_long():
    """A decoder that takes ten times as long as ever."""
    pipe = warped()
    machine = Machine(pipe)
    pipe.warm_up(2, 2, SIZE)
    _, alone = ask(pipe, machine, None)
    pipe.generator.net.rgb.register_forward_pre_hook(lambda *_: machine.work("rgb", 10.0, torch.zeros(1, 1, 1)))
    views, _ = ask(pipe, machine, 1.5 * alone)
    assert views == []
