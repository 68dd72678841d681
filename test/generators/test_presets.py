# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Presets: what they ask of a model, and that `exact` is the model's own sampling."""

from dataclasses import replace

import numpy as np
import pytest
from builders.models import tiny, views

from gld_ros.benchmarks.requests import Shape, wall_request
from gld_ros.diffusion.sampler import Sampling
from gld_ros.errors import InvalidRequest, NoContext
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.gld_setup import presets
from gld_ros.generators.native import native_size
from gld_ros.generators.request import PRESETS
from gld_ros.networks.configs import FlowConfig, ModelConfig
from gld_ros.networks.released import GLD_DA3, GLD_VGGT
from gld_ros.pipeline import GLDPipeline


def stages(name: str, config: ModelConfig, *asked) -> tuple[Sampling, Sampling]:
    sampling = presets(config)[name].changed(*asked).sampling
    return sampling["level1"], sampling["level0"]


def test_exact_is_the_models_own():
    assert stages("exact", GLD_DA3) == (Sampling(49, 1.5),) * 2
    assert stages("exact", GLD_VGGT) == (Sampling(99, 1.5),) * 2
    assert stages("exact", ModelConfig()) == (Sampling(8, 1.0), Sampling(1, 1.0))


def test_fast_views_of_mini_are_worked_on_at_fewer_pixels():
    camera = wall_request(Shape(2, 1, (480, 640)))[1][0]
    sizes = [native_size(camera, presets(ModelConfig())[name].pixels) for name in PRESETS]
    assert sizes == [(480, 640), (480, 640), (240, 320)]


def test_each_preset_asks_for_less_than_the_one_before():
    for config in (GLD_DA3, GLD_VGGT, ModelConfig()):
        steps = [sum(how.steps for how in stages(name, config)) for name in PRESETS]
        assert steps == sorted(steps, reverse=True) and len(set(steps)) == len(PRESETS)


def test_targets_near_the_sources_take_as_few_steps_as_the_model_says():
    exact = presets(ModelConfig())["exact"]
    near, away = (exact.at(novelty).sampling for novelty in (0.1, 0.7))
    assert (near["level1"].steps, away["level1"].steps) == (1, 8) and near["level0"] == away["level0"]
    assert exact.at(0.1).changed(5).sampling["level1"].steps == 5  # what is asked for counts
    assert presets(GLD_DA3)["exact"].at(0.1) == presets(GLD_DA3)["exact"]


@pytest.mark.parametrize(("turn", "steps"), [(0.0, 1), (1.2, 8)])
def test_a_pipeline_samples_by_the_novelty_of_the_request(monkeypatch, turn, steps):
    pipe = GLDPipeline.from_pretrained("mini", device="cpu")
    pipe.generator.net.config = replace(pipe.generator.net.config, flow=ModelConfig().flow)
    sources, targets = views()
    rotation = np.eye(4)
    rotation[::2, ::2] = [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    turned = [target.moved(sources[0].camera.c2w @ rotation) for target in targets]
    asked = []

    def generate(request, report):
        asked.append(request.preset.sampling["level1"].steps)
        raise NoContext("enough")

    monkeypatch.setattr(pipe.generator, "generate", generate)
    with pytest.raises(NoContext, match="enough"):
        pipe(sources, turned)
    assert asked == [steps]


def test_a_model_of_few_steps_is_sampled_as_it_was_trained():
    student = replace(GLD_DA3, flow=FlowConfig(steps=4, guidance_scale=1.0, level0_steps=20, level0_guidance=1.5))
    level1, level0 = stages("balanced", student)
    assert level1 == Sampling(4, 1.0)
    assert level0.steps == 6 and level0.solver != "euler"


def test_what_is_asked_for_replaces_the_presets():
    fast, changed = stages("fast", GLD_DA3)[0], stages("fast", GLD_DA3, 9, 2.0)[0]
    assert changed == replace(fast, steps=9, guidance_scale=2.0)
    assert stages("exact", GLD_DA3, 0, 0.0)[0] == Sampling(49, 0.0)  # 0 steps are the default, too


def test_unknown_presets_are_named():
    pipe = GLDPipeline(GLD(tiny("da3")))
    with pytest.raises(InvalidRequest, match="preset is 'quick', expected one of exact, balanced, fast"):
        pipe(*views(), preset="quick")


def test_evaluations_of_the_released_model():
    """As the README says: guidance costs a second one in the steps of its interval."""
    found = [[sum(how.evaluations(GLD_DA3.flow.t_end)) for how in stages(name, GLD_DA3)] for name in PRESETS]
    assert found == [[98, 98], [23, 10], [10, 1]]
