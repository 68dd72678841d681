# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole method from two images with cameras, in four guided steps (fixture gen3r k).

Full size but for the transformer and the text encoder.
"""

from dataclasses import replace

import pytest
import torch
from gen3r_recipe import TOY_TEXT, TOY_TRANSFORMER, filled, geometry_heads, networks, text_encoder
from oracle import given, watched

from gld_ros.diffusion.flow import twice_shifted_grid
from gld_ros.diffusion.sampler import Sampling
from gld_ros.generators.gen3r import JointDiffusion
from gld_ros.generators.request import Loading
from gld_ros.networks.gen3r.configs import AdapterConfig, Gen3RConfig
from gld_ros.networks.gen3r.transformer import JointTransformer

BOUND, MASK_BOUND = 2e-4, 1e-3
FIXTURE = "gen3r_end_to_end"


@pytest.fixture(scope="module")
def method(
    gen3r_adapter, gen3r_vae, gen3r_image_tower, vggt_camera_head, vggt_point_head, vggt_depth_head
) -> JointDiffusion:
    toy = replace(TOY_TRANSFORMER, layers=2)
    net = networks(
        Gen3RConfig(adapter=AdapterConfig(fixed_grid=False), transformer=toy, text=TOY_TEXT),
        adapter=gen3r_adapter,
        vae=gen3r_vae,
        image=gen3r_image_tower,
        heads=geometry_heads(vggt_camera_head, vggt_point_head, vggt_depth_head),
        transformer=filled(lambda: JointTransformer(toy), "gen3r/dit_e2e/"),
        text=text_encoder(),
    )
    return JointDiffusion(net, Loading())


def wider(module, args, encodings: torch.Tensor) -> torch.Tensor:
    """The recipe's camera head reports a field of view of 0: it is given one, as for the fixture."""
    return torch.cat([encodings[..., :7], 0.6 + 0.1 * encodings[..., 7:].tanh()], dim=-1)


def test_method(fixture, compare, method):
    config = fixture.meta["config"]
    seed, F, size = config["seed"], config["frames"], (config["size"],) * 2
    h = size[0] // 8
    noise = given("latents", (1, 16, 2, h, 2 * h), seed), given("posterior.0", (1, 16, 2, h, h), seed)
    assert [x.shape for x in method.noise(size, F, seed=0)] == [x.shape for x in noise]
    prompt, negative = (method.text(fixture[name]) for name in ("ids_prompt", "ids_bad_detailed"))
    compare(fixture, "context_prompt", prompt, BOUND)
    encoded = method.encode(fixture.images(), F)
    compare(fixture, "control", encoded.condition(noise[1])[0], BOUND)
    compare(fixture, "clip_context_every16", encoded.picture[0, ::16, ::8], BOUND)
    times = twice_shifted_grid(method.net.config.shift, config["steps"])
    compare(fixture, "sigmas", times, 1e-7)
    compare(fixture, "timesteps", 1000 * times[:-1], 1e-7)
    sampling = Sampling(config["steps"], method.net.config.guidance_scale)
    with watched({"step": method.net.transformer}) as calls:
        latents = method.sample(encoded, (prompt, negative), (fixture["K_given"], fixture["c2w"]), sampling, noise)
    states = torch.cat([*(call.args[0] for call in calls["step"][1:]), latents])
    compare(fixture, "latents_after_steps", states, BOUND)
    hook = method.net.heads.camera_head.register_forward_hook(wider)
    clip = method.decode(latents)
    hook.remove()
    compare(fixture, "rgb_stride2", clip.images.permute(0, 2, 3, 1)[:, ::2, ::2], BOUND)
    compare(fixture, "depth_stride2", clip.geometry.depth[0, :, ::2, ::2], BOUND)
    compare(fixture, "point_maps_stride4", clip.geometry.points[0, :, ::4, ::4], BOUND)
    compare(fixture, "pcds_stride4", clip.points[:, ::4, ::4], BOUND)
    compare(fixture, "w2c", clip.geometry.w2c[0, :, :3], BOUND)
    compare(fixture, "K", clip.geometry.K[0], BOUND)
    compare.mask(fixture, "point_masks_stride4", clip.reliable[:, ::4, ::4], MASK_BOUND)
