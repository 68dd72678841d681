# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The joint transformer: toy with every stage of a forward, and one block of full width (fixture gen3r c)."""

from dataclasses import replace

import pytest
import torch
from builders.gen3r_folder import published
from gen3r_recipe import TOY_TRANSFORMER, filled
from oracle import Golden, given, watched

from gld_ros.networks.gen3r import transformer
from gld_ros.networks.gen3r.configs import TransformerConfig
from gld_ros.networks.gen3r.transformer import JointTransformer, rotary_table, turned

BOUND = 3e-5
FIXTURE = "gen3r_transformer"


@pytest.fixture(scope="module")
def toy(golden) -> JointTransformer:
    layers = golden(FIXTURE).meta["config"]["layers"]
    return filled(lambda: JointTransformer(replace(TOY_TRANSFORMER, layers=layers)), "gen3r/dit/")


def inputs(fixture: Golden, case: str, grid: tuple[int, int, int]) -> tuple[torch.Tensor, ...]:
    """x, condition and rays of a case; grid: of the latents of one half."""
    f, h, w = grid
    shapes = {"x": (1, 16, f, h, 2 * w), "y": (1, 20, f, h, 2 * w), "camera": (1, 24, f, 8 * h, 16 * w)}
    return tuple(given(f"{case}.{name}", shape, fixture.meta["config"]["seed"]) for name, shape in shapes.items())


def context(fixture: Golden, net: JointTransformer) -> transformer.Context:
    config = fixture.meta["config"]
    texts = [given(f"text{i}", (length, 64), config["seed"]) for i, length in enumerate(config["text_lens"])]
    return net.context_of(texts, given("clip", (1, 257, 1280), config["seed"]))


def test_every_stage(fixture, compare, toy):
    config = fixture.meta["config"]
    x, condition, rays = inputs(fixture, "A", (config["f"], config["h"], config["w"]))
    t, block = torch.tensor(config["t"]), toy.blocks[0]
    told, control = context(fixture, toy), toy.control_of(rays)
    modules = {f"block{i}": layer for i, layer in enumerate(toy.blocks)}
    modules |= {"block0_q_normed": block.self_attn.norm_q, "block0_self_attn": block.self_attn}
    modules |= {"block0_cross_attn": block.cross_attn, "head": toy.head}
    with watched(modules | {"patches": toy.patch_embedding}) as calls:
        out = toy(x, condition, t, told, control)
    for name in modules:
        compare(fixture, f"A.{name}", calls[name][0].result[-1, ::2], BOUND)
    rope = toy.positions((config["f"], config["h"] // 2, config["w"]), x.device)
    q = block.self_attn.split(calls["block0_q_normed"][0].result)
    rotated = turned(q, rope).transpose(1, 2).flatten(2)
    compare(fixture, "A.block0_q_rotated", rotated[-1, ::2], BOUND)
    compare(fixture, "A.out", out, BOUND)
    compare(fixture, "A.patch_token0_3", calls["patches"][0].result.flatten(2)[0, :, :4].T, BOUND)
    compare(fixture, "A.control_stride2", control[0, ::2, :, ::2, ::2], BOUND)
    embedded, projected = toy.time_of(t)
    compare(fixture, "A.time_embedding", embedded[0], BOUND)
    compare(fixture, "A.time_projection", projected[0].flatten(), BOUND)
    compare(fixture, "A.text_context", told.text[-1, ::16], BOUND)
    compare(fixture, "A.clip_context", told.image[0, ::16, ::2], BOUND)


@pytest.mark.parametrize("case", ["zero", "none", "square"])
def test_cases(fixture, compare, toy, case):
    """Rays of zeros, no rays, and a joined map as high as wide, where the released code has plain positions."""
    config = fixture.meta["config"]
    f, w = config["f"], config["w"]
    x, condition, rays = inputs(fixture, case, (f, 2 * w if case == "square" else config["h"], w))
    if case == "zero":
        rays = torch.zeros_like(rays)
    control = None if case == "none" else toy.control_of(rays)
    out = toy(x, condition, torch.tensor(config["t"]), context(fixture, toy), control)
    compare(fixture, f"{case}.out", out, BOUND)


def test_rotary_table(fixture, compare):
    """Positions 0 to 7 of all axes."""
    places = torch.arange(8)
    table = rotary_table(places, places, places, 32).reshape(8, 8, 8, 16)
    diagonal = table[places, places, places]
    compare(fixture, "rope_table_rows0_7_real", diagonal.real, BOUND)
    compare(fixture, "rope_table_rows0_7_imag", diagonal.imag, BOUND)


def test_full_width(fixture, compare):
    config = fixture.meta["config"]
    net = filled(lambda: JointTransformer(TransformerConfig(layers=1)), "gen3r/dit_real/")
    x, condition, rays = inputs(fixture, "real", tuple(config["real_grid"]))
    text = given("real.text", (config["real_text"], 4096), config["seed"])
    told = net.context_of([text], given("real.clip", (1, 257, 1280), config["seed"]))
    out = net(x, condition, torch.tensor(config["t"]), told, net.control_of(rays))
    compare(fixture, "real.out", out, BOUND)


def test_published_names():
    with torch.device("meta"):
        net = JointTransformer(TransformerConfig())
    assert {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()} == published("transformer")
