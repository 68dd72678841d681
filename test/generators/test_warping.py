# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Warp conditioning: what the sources show of the targets is part of the condition, for all targets of a request."""

import pytest
import torch
from builders.models import tiny

from gld_ros.data.look_away import render_look_away
from gld_ros.data.rooms import TEST_SEED
from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.diffusion.sampler import Sampling
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.native import meet
from gld_ros.generators.request import Preset
from gld_ros.generators.warping import align, warp_sources
from gld_ros.networks.configs import Compat, ModelConfig
from gld_ros.networks.posed_depth import SourceDepth
from gld_ros.pipeline import GLDPipeline

S, N = 2, 3


@pytest.fixture(scope="module")
def scene():
    """Images, depth, K and c2w of two sources and three targets that look away, at mini's working size."""
    views = render_look_away([TEST_SEED + 3], S, N, 96, 72, kind="furnished")
    return views.images, views.depth, views.K, views.c2w


def posed(depth: torch.Tensor) -> SourceDepth:
    return SourceDepth(depth, torch.full_like(depth, 0.01))


def test_by_true_depth_the_sources_show_the_truth(scene):
    images, depth, K, c2w = scene
    warped = warp_sources(images[:, :S], posed(depth[:, :S]), K[:, :S], c2w[:, :S], K[:, S:], c2w[:, S:])
    assert warped.image.shape == (1, N, 3, 72, 96) and warped.depth.shape == warped.seen.shape == (1, N, 72, 96)
    assert 0.1 < warped.seen.float().mean() < 0.9
    error = (warped.image - images[:, S:]).abs().mean(dim=2)[warped.seen]
    assert error.median() < 0.03
    assert (warped.depth / depth[:, S:] - 1)[warped.seen].abs().median() < 0.02


def test_targets_together_are_warped_as_each_alone(scene):
    images, depth, K, c2w = scene
    given = images[:, :S], posed(depth[:, :S]), K[:, :S], c2w[:, :S]
    together = warp_sources(*given, K[:, S:], c2w[:, S:])
    for n in range(N):
        alone = warp_sources(*given, K[:, S + n : S + n + 1], c2w[:, S + n : S + n + 1])
        for name in ("image", "depth", "spread", "seen"):
            assert torch.allclose(getattr(together, name)[:, n].float(), getattr(alone, name)[:, 0].float(), atol=1e-5)


def test_the_targets_places_in_the_condition(scene):
    images, depth, K, c2w = scene
    mini = GLDPipeline.from_pretrained("mini", "cpu", "float32").generator.diffusion
    given = mini.latents_of(images[:, :S])
    cond = mini.condition(images[:, :S], K, c2w, given, posed(depth[:, :S]))
    assert torch.equal(cond.level1[:, :S], given.level1) and torch.equal(cond.level0[:, :S], given.level0)
    assert cond.level1.shape[1] == S + N and cond.camera.shape == (1, S + N, 256)
    # The warp shows the truth where it shows anything: its latents are nearer to the truth's than noise is.
    truth = mini.net.to_latent(mini.net.encoder(images, levels=2)[1], 1)[:, S:]
    assert (cond.level1[:, S:] - truth).pow(2).mean() < 0.8 * truth.pow(2).mean()
    other = mini.condition(images[:, :S], K, c2w, given, posed(2 * depth[:, :S]))
    assert not torch.allclose(other.level1[:, S:], cond.level1[:, S:], atol=0.1)

    released = GLD(tiny("da3")).diffusion
    pictures = torch.rand(1, S, 3, 42, 56)
    empty = released.condition(pictures, K, c2w, released.latents_of(pictures), None)
    assert not empty.level1[:, S:].any() and not empty.level0[:, S:].any() and empty.warped is None


def test_a_stage_is_told_what_the_sources_show_of_every_target(scene):
    _, _, K, c2w = scene
    seen = torch.zeros(1, N, 72, 96, dtype=torch.bool)
    seen[:, 1] = True
    cameras = RequestCameras(K, c2w, S, (72, 96), (9, 12), Compat(), seen)
    dit = GLDPipeline.from_pretrained("mini", "cpu").generator.net.level1
    visible = cameras.condition(dit).camera_map[0, :, -1]
    assert visible.flatten(1).mean(dim=1).tolist() == [1, 1, 0, 1, 0]
    assert cameras.condition(dit).camera_map.shape[2] == ModelConfig().level1.camera_channels


def test_depth_is_aligned_over_all_views_where_it_is_known():
    depth = torch.rand(2, 3, 4, 5) + 1
    seen = torch.rand(2, 3, 4, 5) < 0.4
    known = torch.where(seen, torch.tensor([2.0, 5.0])[:, None, None, None] * depth, torch.tensor(1e3))
    assert torch.allclose(align(depth, known, seen), torch.tensor([2.0, 5.0]))


def test_generated_pixels_meet_the_observed_ones():
    torch.manual_seed(0)
    observed = torch.rand(1, 3, 24, 32)
    seen = torch.zeros(1, 24, 32, dtype=torch.bool)
    seen[:, :, :12] = True
    shade = torch.tensor([0.2, -0.1, 0.05])[:, None, None]
    met = meet(observed + shade, observed, seen)
    assert torch.allclose(met, observed, atol=1e-5)  # the shade of the generated picture goes, its detail stays
    nothing = torch.zeros_like(seen)
    assert torch.equal(meet(observed, torch.zeros_like(observed), nothing), observed)


def test_guidance_strengthens_what_the_sources_show(scene):
    """Its other branch has the sources and the cameras, but no warped sources."""
    images, depth, K, c2w = scene
    mini = GLDPipeline.from_pretrained("mini", "cpu", "float32").generator.diffusion
    asked = []
    runner, velocity = mini.runner, mini.runner.velocity
    runner.velocity = lambda dit, flow, cond, how: asked.append(cond) or velocity(dit, flow, cond, how)
    how = {"level1": Sampling(1, guidance_scale=1.5), "level0": Sampling(1, guidance_scale=1.5)}
    mini.denoise(images[:, :S], K, c2w, Preset("one", how), depth=posed(depth[:, :S]))
    guided, plain = asked
    assert torch.equal(guided.null_base[:, :S], guided.base[:, :S]) and not guided.null_base[:, S:].any()
    assert guided.base[:, S:].any() and torch.equal(guided.null.camera_map, guided.cameras.camera_map)
    assert plain.null is None
