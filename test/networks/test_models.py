# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The networks: what must hold for any weights."""

import json
from dataclasses import replace

import pytest
import torch
from builders.models import shaken

from gld_ros.data.room_views import render_scenes
from gld_ros.networks.configs import DiTConfig, MatchingConfig, ModelConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.encoder import map_to_tokens, tokens_to_map
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.layers import attend
from gld_ros.networks.posed_depth import (
    FineSweep,
    PosedDepth,
    SourceDepth,
    agreed_depth,
    mean_baseline,
    plane_costs,
)
from gld_ros.networks.prope import camera_tables, decode, encode
from gld_ros.plain import from_dict, to_dict


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_config_survives_json_and_unknown_fields_are_refused():
    config = ModelConfig()
    values = json.loads(json.dumps(to_dict(config)))
    assert from_dict(ModelConfig, values) == config
    with pytest.raises(ValueError, match="surprise"):
        from_dict(ModelConfig, values | {"surprise": 1})


def test_tokens_and_maps_are_the_same_numbers():
    x = torch.rand(2, 3, 5, 4, 6)
    assert torch.equal(tokens_to_map(map_to_tokens(x), (4, 6)), x)


def test_written_out_attention_equals_sdpa():
    q, k, v = torch.randn(3, 2, 4, 30, 16).unbind(0)
    assert torch.allclose(attend(q, k, v), attend(q, k, v.bfloat16()).float(), atol=0.02)


def tables(K, w2c, head_dim=16):
    return camera_tables(K, w2c, (48, 64), (3, 4), head_dim)


def random_cameras(views: int):
    K = torch.tensor([[50.0, 0, 30], [0, 55, 25], [0, 0, 1]]).expand(1, views, 3, 3)
    rotation = torch.linalg.qr(torch.randn(1, views, 3, 3)).Q
    rotation = rotation * torch.linalg.det(rotation)[..., None, None]
    w2c = torch.eye(4).repeat(1, views, 1, 1)
    w2c[..., :3, :3], w2c[..., :3, 3] = rotation, torch.randn(1, views, 3)
    return K, w2c


def test_prope_depends_on_relative_poses_only():
    K, w2c = random_cameras(3)
    _, move = random_cameras(1)
    q, k, v = torch.randn(3, 1, 2, 36, 16).unbind(0)

    def attention(w2c):
        t = tables(K, w2c)
        return decode(attend(*encode(q, k, v, t)), t)

    assert torch.allclose(attention(w2c), attention(w2c @ move), atol=1e-3)
    other = w2c.clone()
    other[:, 1, 0, 3] += 0.5
    assert not torch.allclose(attention(w2c), attention(other), atol=1e-2)


def test_prope_output_undoes_the_value_transform():
    t = tables(*random_cameras(2))
    v = torch.randn(1, 2, 24, 16)
    assert torch.allclose(decode(encode(v, v, v, t)[2], t), v, atol=1e-4)


def dit_call(dit, views=3, sources=2, level0=False):
    K, w2c = random_cameras(views)
    t = [tables(K, w2c, d) for d in dit.head_dims]
    x = torch.randn(3, 1, views, 8, 3, 4)
    level1 = torch.randn(1, views, 6, 3, 4) if level0 else None
    return dit(x[0], x[1], torch.tensor([0.7]), torch.randn(1, views, 8, 24, 32), (t[0], t[1]), sources, level1)


@pytest.mark.parametrize(("split", "channels"), [(True, 0), (False, 6)])
def test_dit_is_zero_at_initialisation_and_not_after(split, channels):
    config = DiTConfig(width=32, depth=2, heads=2, head_width=32, head_heads=2, split_embedders=split)
    dit = MultiViewDiT(8, 8, replace(config, level1_channels=channels))
    assert dit_call(dit, level0=bool(channels)).abs().max() == 0
    assert dit_call(shaken(dit), level0=bool(channels)).abs().max() > 1e-3


def test_posed_depth_scales_with_the_world_and_nothing_else():
    matching = shaken(PosedDepth(16, MatchingConfig()))
    K = torch.tensor([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]).expand(1, 2, 3, 3)
    c2w = torch.eye(4).repeat(1, 2, 1, 1)
    c2w[:, 1, 0, 3] = 0.3
    images, tokens = torch.rand(1, 2, 3, 48, 64), torch.randn(1, 2, 48, 16)
    small = matching(images, K, c2w, tokens, (6, 8))
    c2w[..., :3, 3] *= 7
    large = matching(images, K, c2w, tokens, (6, 8))
    assert torch.allclose(large.depth, 7 * small.depth, rtol=1e-4)
    assert torch.allclose(large.spread, small.spread, rtol=1e-4)


def test_costs_are_means_over_the_views_that_see_the_point():
    room = render_scenes([6], 64, 48)
    views = [0, 1, 1]
    features = torch.nn.functional.normalize(room.images[:, views] - 0.5, dim=2)
    K, c2w, depth = room.K[:, views], room.c2w[:, views].clone(), room.depth[:, views, None]
    two = plane_costs(features[:, :2], K[:, :2], c2w[:, :2], depth[:, :2], (48, 64))
    c2w[:, 2, :3, :3] *= torch.tensor([-1.0, 1, -1])  # it looks the other way
    three = plane_costs(features, K, c2w, depth, (48, 64))
    assert torch.allclose(three[:, :2], two, atol=1e-5) and two[:, 0].mean() > 0.4
    assert (three[:, 2] == 0).all()


def test_views_agree_on_depth_where_they_see_the_same_surface():
    room = render_scenes([6, 7], 64, 48)
    posed, truth = (room.K, room.c2w), room.depth
    assert ((agreed_depth(truth, torch.full_like(truth, 0.05), *posed) / truth).log().abs() < 0.02).float().mean() > 0.9
    wrong = truth * torch.tensor([1.06, 0.94, 1.03, 0.97])[:, None, None]
    found = agreed_depth(wrong, torch.full_like(truth, 0.05), *posed)
    before, after = ((x / truth).log().abs().mean() for x in (wrong, found))
    assert after < 0.8 * before
    sure = torch.full_like(truth, 0.05)
    sure[:, 0] = 0.001  # whoever knows better is believed
    right = torch.cat([truth[:, :1], wrong[:, 1:]], dim=1)
    found = agreed_depth(right, sure, *posed)
    errors = (found / truth).log().abs().mean(dim=(0, 2, 3))
    assert errors[0] < 0.02 and errors[1] < 0.6 * (wrong / truth).log().abs()[:, 1].mean()
    far = truth * torch.tensor([1.0, 2, 1, 1])[:, None, None]
    other = agreed_depth(far, torch.full_like(truth, 0.01), *posed)
    assert torch.allclose(other[:, 1], far[:, 1], rtol=0.05), "another surface has no say"


@pytest.mark.parametrize("wrong", [1.08, 1 / 1.08])
def test_the_second_sweep_comes_nearer_to_the_truth_untrained(wrong):
    """Its costs vote by themselves: pixels look alike where the depth is right. Chance features are weak, so loudly."""
    torch.manual_seed(0)
    room = render_scenes([6], 64, 48)
    images, K, c2w, depth = room.images[:, :2], room.K[:, :2], room.c2w[:, :2], room.depth[:, :2]
    fine = FineSweep(32, 48, MatchingConfig())
    fine.vote.data.fill_(400.0)
    first = SourceDepth(wrong * depth, torch.full_like(depth, 0.06))
    nothing = torch.zeros(2, 48, 24, 32)
    second = fine(images.flatten(0, 1), nothing[:, :32], nothing, first, mean_baseline(c2w), K, c2w)
    before, after = ((found.depth / depth).log().mean() for found in (first, second))
    assert 0.02 < 1 - after / before < 1, (before, after)


def test_features_put_generated_latents_through_the_rest_of_the_encoder():
    net = shaken(GLDNetworks(ModelConfig()))
    levels = net.encoder(torch.rand(1, 3, 3, 40, 40))
    latents = [net.to_latent(levels[k], k) for k in (0, 1)]
    expected = [net.encoder.to_decoder(level) for level in levels]
    for a, b in zip(expected, net.features(*latents, levels[1].grid, levels[1].camera), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
