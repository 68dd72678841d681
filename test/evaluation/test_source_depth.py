# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval --source-depth`: a model with the depth of its sources beside the same model without it."""

from dataclasses import replace

import pytest

from gld_ros.cli.eval import own_methods
from gld_ros.data.scenes import Skipped
from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.protocol import Protocol
from gld_ros.evaluation.scenes import with_source_depth
from gld_ros.evaluation.settings import EvaluationSettings
from gld_ros.pipeline import GLDPipeline


def test_sources_with_depth_are_better_and_need_no_baseline():
    pipe = GLDPipeline.from_pretrained("mini", device="cpu")
    settings = EvaluationSettings(model="mini", scenes=1, steps=1, source_depth=True)
    methods = own_methods(pipe, [], settings)[:2]
    assert [method.name for method in methods] == ["model", "rgb_alone"]
    (scene,) = settings.open_scenes(Skipped())[0]
    one = replace(scene, name="one", sources=scene.sources[:1], source_depths=scene.source_depths[:1])
    found = Protocol(pipe, methods).evaluate([scene, one])
    two, one = found.scenes
    with_depth, without = (two.rows[name, "observed"]["depth_abs_rel"] for name in ("model", "rgb_alone"))
    assert with_depth < 0.02 and with_depth < 0.5 * without
    assert one.rows["model", "observed"]["depth_abs_rel"] < 0.02  # metres without a baseline
    assert ("rgb_alone", "observed") not in one.rows and one.missing == [("rgb_alone", f"one/{scene.names[0]}")]
    with pytest.raises(InvalidRequest, match="its data have no depth to give to the sources; leave --source-depth out"):
        with_source_depth(replace(scene, source_depths=None))
