# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runner against the plain method: Euler over two passes of a network that embeds everything anew in every step."""

import sys
from dataclasses import replace

import pytest
import torch
from builders.models import shaken, tiny, views

from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.diffusion.flow import guided, shift_time, time_grid
from gld_ros.diffusion.sampler import SOLVERS, Conditioning, Runner, Sampling, integrate, velocity
from gld_ros.errors import ModelError
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.request import Loading
from gld_ros.networks.configs import Compat, FlowConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.prope import multiply
from gld_ros.networks.released import GLD_DA3
from gld_ros.pipeline import GLDPipeline

CPU, GRID, SIZE, SOURCES, VIEWS = torch.device("cpu"), (3, 4), (42, 56), 2, 3
SMALL = {"width": 32, "depth": 3, "heads": 2, "head_width": 48, "head_depth": 2, "head_heads": 2}
FLOW = FlowConfig(shift=4.0, t_end=0.001)


def network(from_level1: bool = False, **changes) -> MultiViewDiT:
    torch.manual_seed(0)
    config = GLD_DA3.level0 if from_level1 else GLD_DA3.level1
    config = replace(config, **SMALL | ({"level1_channels": 6} if from_level1 else {}) | changes)
    return shaken(MultiViewDiT(6, 14, config)).requires_grad_(False)


def cameras(size=SIZE, views: int = VIEWS) -> RequestCameras:
    c2w = torch.eye(4).repeat(1, views, 1, 1)
    c2w[0, :, 0, 3] = torch.arange(views) * 0.2
    K = torch.tensor([[50.0, 0, 28], [0, 52, 21], [0, 0, 1]]).repeat(1, views, 1, 1)
    return RequestCameras(K, c2w, SOURCES, size, (size[0] // 14, size[1] // 14), Compat())


def request(dit: MultiViewDiT, views: int = VIEWS) -> tuple[Conditioning, torch.Tensor]:
    """The conditioning of a stage, and noise."""
    torch.manual_seed(1)
    base, level1, noise = torch.randn(3, 1, views, 6, *GRID)
    base[:, SOURCES:] = 0
    shared = cameras(views=views)
    hint = level1 if dit.config.level1_channels else None
    return Conditioning(base, shared.condition(dit), shared.condition(dit, drop=True), hint), noise


def sampled(dit, how: Sampling, **options) -> torch.Tensor:
    cond, noise = request(dit)
    return run(Runner(CPU, **options), dit, cond, noise, how)


def run(runner: Runner, dit, cond: Conditioning, noise: torch.Tensor, how: Sampling) -> torch.Tensor:
    times = time_grid(FLOW, how.steps, noise.shape[1])
    return integrate(runner.velocity(dit, FLOW, cond, how), noise, times, how.solver)


def euler(field, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """The plain method of the released models."""
    x = noise
    for t, following in zip(times[:-1], times[1:], strict=True):
        x = x + (following - t) * field(x, t.expand(len(x)))
    return x


def plain(dit: MultiViewDiT, how: Sampling) -> torch.Tensor:
    cond, noise = request(dit)
    field = guided(*(velocity(dit, cond.base, c, cond.level1) for c in (cond.cameras, cond.null)), how.guidance_scale)
    return euler(field, noise, time_grid(FLOW, how.steps))


@pytest.mark.parametrize("scale", [1.0, 1.5])
@pytest.mark.parametrize("prediction", ["velocity", "data"])
@pytest.mark.parametrize("from_level1", [False, True])
def test_exact_is_the_plain_method_bit_for_bit(from_level1, prediction, scale):
    dit, how = network(from_level1, prediction=prediction), Sampling(4, scale)
    assert torch.equal(sampled(dit, how), plain(dit, how))


def test_both_branches_in_one_batch():
    dit, how = network(True), Sampling(4, 1.5)
    calls = []
    dit.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    one = sampled(dit, how, joined=True)
    assert calls == [2] * 4
    two = sampled(dit, how, joined=False)
    assert calls[4:] == [1] * 8
    assert torch.allclose(one, two, atol=1e-4 * two.abs().max())
    assert not torch.allclose(one, sampled(dit, Sampling(4, 2.5), joined=True), atol=1e-2)


def test_guidance_within_its_interval():
    """Before the shift the grid's times are 1, 3/4, 1/2, 1/4."""
    dit, batches = network(), []
    dit.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
    inside = sampled(dit, Sampling(4, 2.0, (0.3, 0.76)), joined=True)
    assert batches == [1, 2, 2, 1]
    cond, noise = request(dit)
    fields = [velocity(dit, cond.base, c, None) for c in (cond.cameras, cond.null)]

    def field(x, t):
        within = shift_time(torch.tensor(0.3), 4.0) <= t[0] <= shift_time(torch.tensor(0.76), 4.0)
        return guided(*fields, 2.0 if within else 1.0)(x, t)

    assert torch.allclose(inside, euler(field, noise, time_grid(FLOW, 4)), atol=1e-4)


def test_nothing_is_embedded_twice():
    dit, embedded = network(), []
    dit.t_embedder.register_forward_hook(lambda *_: embedded.append("t"))
    dit.camera_embedder.register_forward_hook(lambda *_: embedded.append("cameras"))
    sampled(dit, Sampling(5, 1.5))
    assert sorted(embedded) == ["cameras"] * 2 + ["t"] * 5


def test_the_host_waits_for_nothing():
    """No device tensor is read while sampling: on the meta device that would be an error."""
    dit = network().to("meta")
    cond, noise = request(dit)
    meta = Conditioning(cond.base.to("meta"), *(to_meta(c) for c in (cond.cameras, cond.null)), None)
    for name in SOLVERS:
        how = Sampling(4, 1.5, (0.2, 0.8), name)
        made = run(Runner(CPU, joined=True), dit, meta, noise.to("meta"), how)
        assert made.shape == noise.shape


def to_meta(cameras):
    tables = [replace(t, **{name: value.to("meta") for name, value in vars(t).items()}) for t in cameras.tables]
    return replace(cameras, camera_map=cameras.camera_map.to("meta"), tables=tuple(tables))


def test_stages_share_the_tables_that_are_equal():
    level1, from_level1 = network(), network(True)
    square, other = cameras((504, 504)), cameras()

    def share(request: RequestCameras, drop: bool = False) -> bool:
        return request.condition(level1, drop).tables[0] is request.condition(from_level1, drop).tables[0]

    assert share(square)
    assert not share(other)  # level 0 normalises by 504 x 504
    assert not share(square, True)  # and keeps K without a condition
    assert other.condition(level1).camera_map is other.condition(from_level1).camera_map
    for dit in (level1, from_level1):
        for drop in (False, True):
            alone = cameras().condition(dit, drop)
            shared = other.condition(dit, drop)
            assert torch.allclose(alone.camera_map, shared.camera_map, atol=1e-5)
            assert torch.allclose(alone.tables[1].unproject, shared.tables[1].unproject, atol=1e-4)


# ---- compiled (dynamo alone: the compiler itself is the same for all)


def test_compiled_for_each_shape_and_no_more_than_it_keeps():
    dit, how = network(depth=1, head_depth=1), Sampling(2)
    runner = Runner(CPU, compiled=True, shapes=1, backend="eager")
    for count in (3, 4):
        cond, noise = request(dit, count)
        made = run(runner, dit, cond, noise, how)
        assert torch.allclose(made, run(Runner(CPU), dit, cond, noise, how), atol=1e-5)
        assert runner.kept == 1


def test_compiled_camera_attention_is_the_same(monkeypatch):
    torch.manual_seed(0)
    x, matrix = torch.randn(2, 3, 4, 5, 4), torch.randn(2, 1, 4, 4, 4)
    eager = multiply(x, matrix)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.allclose(multiply(x, matrix), eager, atol=1e-5)


# ---- of a pipeline


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_a_compiled_pipeline_is_warmed_up(monkeypatch):
    """Both networks with and without guidance; the request that follows compiles nothing."""
    monkeypatch.setattr(Runner, "_compile", lambda runner, dit: dit)
    pipe = GLDPipeline(GLD(tiny("da3"), Loading(compile=True)))
    config = pipe.generator.net.config
    pipe.generator.net.config = replace(config, flow=replace(config.flow, steps=20))
    pipe.warm_up(2, 1, (60, 80), "balanced")
    kept = pipe.generator.diffusion.runner.kept
    assert kept == 2  # on a CPU both branches have the same shape
    pipe(*views(), preset="balanced", strict_scale=False)
    assert pipe.generator.diffusion.runner.kept == kept


@pytest.mark.parametrize(("kind", "bound"), [("int8", 0.03), ("fp8", 0.1)])
def test_weights_in_8_bits_change_little(kind, bound):
    pytest.importorskip("torchao")
    exact, pipe = GLDPipeline(GLD(tiny("da3"))), GLDPipeline(GLD(tiny("da3"), Loading(quantize=kind)))
    c2w = torch.eye(4).repeat(1, 2, 1, 1)
    c2w[0, 1, 0, 3] = 0.2
    K = torch.tensor([[50.0, 0, 28], [0, 52, 21], [0, 0, 1]]).repeat(1, 2, 1, 1)
    images = torch.rand(1, 1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    made, expected = (p.generator.generate_tensors(images, K, c2w).level0 for p in (pipe, exact))
    assert 0 < (made - expected).norm() < bound * expected.norm()
    with torch.autocast("cpu", torch.bfloat16):
        assert pipe.generator.net.level1.blocks[0].mlp(torch.ones(1, 1, 32)).isfinite().all()


def test_what_does_not_go_together_is_refused(monkeypatch):
    with pytest.raises(ModelError, match="quantize is 'int4', expected None or one of int8, fp8"):
        GLDPipeline.from_pretrained("mini", quantize="int4")
    for option in ({"compile": True}, {"quantize": "int8"}):
        with pytest.raises(ModelError, match="offload .* does not go together with compile or quantize"):
            GLDPipeline(GLD(tiny("da3"), Loading(offload="sequential", **option)))
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(ModelError, match=r"quantize='fp8' needs the extra 'quantize' .*: pip install 'torchao"):
        GLDPipeline(GLD(tiny("da3"), Loading(quantize="fp8")))
