# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A new family of models is one class and one line: a toy goes through the pipeline, `gld`, the bench and the node.

It lives in this file alone.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders.models import tiny, views

from gld_ros.benchmarks import latency
from gld_ros.benchmarks.requests import Shape, Variant, wall_request
from gld_ros.cli import main
from gld_ros.diffusion.sampler import Sampling, integrate
from gld_ros.errors import ModelError, RequestTimeout
from gld_ros.generators import base
from gld_ros.generators.base import Generator
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.native import Pixels, pictures
from gld_ros.generators.request import PRESETS, Limits, Preset, Rendering
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.pipeline import GLDPipeline
from gld_ros.views import Scale


class Toy(Generator):
    """Diffuses noise towards the sources' mean picture on a wall at one metre."""

    name, limits = "toy", Limits(patch=8, max_sources=3)
    presets = {name: Preset(name, {"paint": Sampling(4 - k)}) for k, name in enumerate(PRESETS)}

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Identity()

    @classmethod
    def load(cls, folder, loading):
        return cls()

    def working_size(self, camera):
        return 16, 24

    def phases(self, request):
        tokens = float(len(request.cameras) * request.size[0] * request.size[1])
        steps = request.preset.sampling["paint"].steps
        return {"encode": [0.0 if self.keeps(request) else tokens], "paint": [tokens] * steps, "decode": [tokens]}

    def encode(self, sources, size, pixels):
        return pictures([source.image for source in sources], size, "cpu")[0].mean(dim=0)

    def generate(self, request, report):
        mean = self.encoded(request)
        report("encode")
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(request.seed))
        times = torch.linspace(1, 0, request.preset.sampling["paint"].steps + 1)
        image = integrate(lambda x, t: (x - mean) / t[0], noise, times, on_step=lambda step: report("paint", mean))
        pixels = []
        for target in request.targets:
            size = target.height, target.width
            shown = torch.nn.functional.interpolate(image[None], size=size)[0].clamp(0, 1)
            pixels.append(Pixels(shown, torch.ones(size), torch.full(size, 0.1), torch.zeros(size, dtype=torch.bool)))
        return Rendering(pixels, Scale(1.0, "poses", 0.0), mean)


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    """Its folder; the one line that makes it known."""
    monkeypatch.setitem(base.FAMILIES, "toy", Toy)
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"family": "toy"}))
    return folder


def test_through_the_pipeline(toy):
    pipe, seen = GLDPipeline.from_pretrained(toy, "cpu"), []
    sources, targets = wall_request(Shape(2, 2, (48, 64)))
    made = pipe(sources, targets, seed=3, preset="balanced", callback=seen.append)
    assert [view.image.shape for view in made] == [(48, 64, 3)] * 2
    assert {(view.model, view.seed, view.preset, view.complete) for view in made} == {("toy", 3, "balanced", True)}
    expected = np.mean([source.image.mean() for source in sources])
    assert made[0].image.mean() == pytest.approx(expected, abs=3) and made[0].novelty > 0
    assert [p.stage for p in seen] == ["encode", *["paint"] * 3, "decode"] and seen[-1].fraction == 1
    assert pipe(sources, targets[:1], samples=2)[0].samples == 2
    assert pipe.observed_depth(sources) == [] and pipe.smaller_sizes(targets[0]) == [(16, 16), (16, 16)]


def test_within_a_budget(toy):
    pipe = GLDPipeline.from_pretrained(toy, "cpu")
    pipe.warm_up()
    request = wall_request(Shape(2, 2, (48, 64)))
    assert pipe(*request, time_budget=60.0)[0].preset == "exact"
    with pytest.raises(RequestTimeout, match="the fastest view takes about"):
        pipe(*request, time_budget=1e-9)


def test_through_gld_synthesize(toy, tmp_path, capsys):
    sequence, out = tmp_path / "rooms", tmp_path / "out"
    assert main(["data", "rooms", "--out", str(sequence), "--frames", "5"]) == 0
    what = ["synthesize", str(sequence), "--model", str(toy), "--sources", "0,4", "--targets", "2", "--device", "cpu"]
    assert main([*what, "--steps", "2", "--out", str(out)]) == 0
    assert json.loads((out / "report.json").read_text())["model"] == "toy"
    assert (out / "view_00.png").is_file()


def test_through_gld_eval(toy, capsys):
    assert main(["eval", str(toy), "--split", "val", "--scenes", "2", "--steps", "1", "--device", "cpu", "--json"]) == 0
    methods = json.loads(capsys.readouterr().out)["methods"]
    assert list(methods) == ["model", "copy_nearest", "true_depth_warp"]
    assert methods["model"]["all"]["cloud_chamfer"]["mean"] > 0


def test_through_the_bench(toy):
    pipe = GLDPipeline.from_pretrained(toy, "cpu")
    row = latency.measure(pipe, Shape(2, 1, (48, 64)), Variant("fast", {"preset": "fast"}), repeat=1)
    assert row["model"] == "toy" and row["steps"] == {"paint": 2} and row["tokens_per_s"] > 0
    assert set(row["stages"]) == {"encode", "paint", "decode", "other"} and "sampling_flops" not in row


def ask_the_node(generator: Generator, sources, targets):
    """The result of a request to the node's worker and synthesizer."""
    tf2_ros = pytest.importorskip("tf2_ros")
    from gld_ros.ros.node.parameters import Parameters
    from gld_ros.ros.node.poses import TFPoses
    from gld_ros.ros.node.synthesizer import Synthesizer, ViewRequest
    from gld_ros.ros.node.worker import Worker
    from gld_ros.scene.key_frames import KeyFrameBuffer

    context, worker = KeyFrameBuffer(), Worker(1)
    for stamp, source in enumerate(sources, start=1):
        context.add("camera", replace(source, stamp=stamp))
    shared = SimpleNamespace(key_frames=context, parameters=Parameters())
    synthesizer = Synthesizer(shared, GLDPipeline(generator), TFPoses(tf2_ros.Buffer(), "map"))
    request = ViewRequest(tuple(("map", 0, target.c2w) for target in targets), None, seed=5, budget=60.0)
    try:
        job = worker.submit(lambda job: synthesizer.run(request, job, lambda view, stamp: None), 60.0)
        return job.future.result(60.0)
    finally:
        worker.stop(10.0)


def test_through_the_synthesizer_of_the_node(toy):
    result = ask_the_node(Toy(), *wall_request(Shape(2, 2, (48, 64))))
    assert result.error is None and [(view.model, view.seed) for view in result.views] == [("toy", 5)] * 2


def test_families_that_are_not_known_are_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"family": "other"}))
    with pytest.raises(ModelError, match="model family 'other', expected one of gld"):
        GLDPipeline.from_pretrained(tmp_path, "cpu")
    with pytest.raises(ModelError, match="'toy' is of another family"):
        GLD.of(Toy())


@pytest.fixture
def frames(monkeypatch) -> set[tuple[str, ...]]:
    """Our functions on the stack, the outermost first, when a diffusion network is called."""
    found, forward = set(), MultiViewDiT.forward

    def counted(self, *args):
        frame, names = sys._getframe(), ["forward"]
        while frame := frame.f_back:
            if "/gld_ros/" in frame.f_code.co_filename:
                names.append(frame.f_code.co_name)
        found.add(tuple(names[::-1]))
        return forward(self, *args)

    monkeypatch.setattr(MultiViewDiT, "forward", counted)
    return found


IN_PIPELINE = ("__call__", "generate", "denoise", "sample", "integrate", "at", "forward")


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_frames_from_the_pipeline_to_the_network(frames):
    GLDPipeline(GLD(tiny("da3")))(*views(), strict_scale=False)
    assert frames == {IN_PIPELINE}


def test_frames_from_the_nodes_worker_to_the_network(frames):
    """From a job on; the function of the job itself, `RequestServer._work` in the node, is the twelfth."""
    ask_the_node(GLD(tiny("da3")), *views())
    assert {names[names.index("run") :] for names in frames} == {("run", "run", "_views", "views", *IN_PIPELINE)}
