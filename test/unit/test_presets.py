"""Presets: what they ask of a model, and that `exact` is the model's own sampling."""

from dataclasses import replace

import pytest
import torch
from test_joint import tiny, views

from gld_ros.diffusion.sampling import Sampling
from gld_ros.errors import InvalidRequest
from gld_ros.models.configs import FlowConfig, ModelConfig
from gld_ros.models.released import GLD_DA3, GLD_VGGT
from gld_ros.pipeline import GLDPipeline
from gld_ros.pipeline.presets import NAMES, preset


def stages(name: str, config: ModelConfig, *asked) -> tuple[Sampling, Sampling]:
    return preset(name, config).sampling(config.flow, *asked)


def test_exact_is_the_models_own():
    assert stages("exact", GLD_DA3) == (Sampling(49, 1.5),) * 2
    assert stages("exact", GLD_VGGT) == (Sampling(99, 1.5),) * 2
    assert stages("exact", ModelConfig()) == (Sampling(1, 1.0),) * 2


def test_each_preset_asks_for_less_than_the_one_before():
    for config in (GLD_DA3, GLD_VGGT):
        steps = [sum(how.steps for how in stages(name, config)) for name in NAMES]
        assert steps == sorted(steps, reverse=True) and len(set(steps)) == len(NAMES)


def test_a_model_of_few_steps_is_sampled_as_it_was_trained():
    student = replace(GLD_DA3, flow=FlowConfig(steps=4, guidance_scale=1.0, cascade_steps=20, cascade_guidance=1.5))
    level1, cascade = stages("balanced", student)
    assert level1 == Sampling(4, 1.0)
    assert cascade.steps == 6 and cascade.solver != "euler"


def test_what_is_asked_for_replaces_the_presets():
    fast, changed = stages("fast", GLD_DA3)[0], stages("fast", GLD_DA3, 9, 2.0)[0]
    assert changed == replace(fast, steps=9, guidance_scale=2.0)
    assert stages("exact", GLD_DA3, 0, 0.0)[0] == Sampling(49, 0.0)  # 0 steps are the default, too


def test_unknown_presets_are_named():
    pipe = GLDPipeline(tiny("da3"))
    for ask in (lambda: pipe(*views(), preset="quick"), lambda: preset("quick", ModelConfig())):
        with pytest.raises(InvalidRequest, match="preset is 'quick', expected one of exact, balanced, fast"):
            ask()


def test_mini_takes_every_preset():
    pipe = GLDPipeline.from_pretrained("mini", device="cpu")
    sources, targets = views()
    made = [pipe(sources, targets, preset=name, strict_scale=False)[0].image for name in NAMES]
    assert all(torch.equal(torch.from_numpy(image), torch.from_numpy(made[0])) for image in made[1:])
