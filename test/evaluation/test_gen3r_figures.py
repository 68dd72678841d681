# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval` with a Gen3R of random weights: one view, two, and all frames of a clip; its cameras; its cost."""

import json

import pytest
from builders.gen3r_folder import TINY, tiny_gen3r_folder

from gld_ros.cli import main
from gld_ros.generators.gen3r_family import PHASE
from gld_ros.generators.request import Request
from gld_ros.networks.gen3r.transformer import evaluation_flops
from gld_ros.pipeline import GLDPipeline
from gld_ros.pipeline.pipeline import made_up_views


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_gen3r_folder(tmp_path_factory.mktemp("gen3r") / "tiny")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("sources", [1, 2, TINY.frames])
def test_protocols(folder, sources, capsys):
    what = ["eval", str(folder), "--data", "rooms:test?width=64&height=64", "--scenes", "1", "--clips", "1"]
    clip = ["--views", str(TINY.frames), "--sources", str(sources), "--steps", "1", "--device", "cpu", "--json"]
    assert main([*what, *clip]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["methods"]) == ["model", "copy_nearest", "true_depth_warp"] and report["scenes"] == 1
    assert report["targets"] == (TINY.frames if sources == TINY.frames else TINY.frames - sources)
    model = report["methods"]["model"]
    assert model["all"]["cloud_chamfer"]["mean"] > 0 and 0 <= model["poses"]["auc_30"]["mean"] <= 1
    assert "poses" not in report["methods"]["copy_nearest"] and "imply" in report["poses"]


def test_cost_of_a_clip(folder):
    generator = GLDPipeline.from_pretrained(folder, device="cpu").generator
    sources, targets = made_up_views(1, 2, (64, 64))
    preset = generator.preset("exact")
    assert preset.sampling[PHASE].guided
    one = evaluation_flops(TINY.transformer, TINY.frames, (112, 112))
    request = Request(sources, targets, (112, 112), preset, 0, False)
    assert generator.flops(request) == preset.steps * one
    unguided = Request(sources, targets, (112, 112), preset.changed(steps=3, guidance_scale=1.0), 0, False)
    assert generator.flops(unguided) == pytest.approx(1.5 * one, rel=0.1)
