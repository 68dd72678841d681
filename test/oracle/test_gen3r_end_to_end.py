# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A request to the pipeline: two sources and the cameras between them, in four guided steps (fixture gen3r k).

Full size but for the transformer and the text encoder. VGGT, whose tokens are compared in test_gen3r_geometry.py, only
finds the unit of the cameras here. It is given to see what the sources' depth images show, so that the unit is 1.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gen3r_recipe import TOY_TEXT, TOY_TRANSFORMER, filled, networks, text_encoder
from oracle import Golden, built, given, golden_file, watched

from gld_ros.diffusion.flow import twice_shifted_grid
from gld_ros.errors import Cancelled
from gld_ros.generators.gen3r import Given
from gld_ros.generators.gen3r_family import Gen3R
from gld_ros.generators.request import Loading, fingerprint
from gld_ros.geometry.cameras import Camera
from gld_ros.networks.gen3r.configs import AdapterConfig, Gen3RConfig
from gld_ros.networks.gen3r.geometry import ClipGeometry, GeometryHeads
from gld_ros.networks.gen3r.transformer import JointTransformer
from gld_ros.networks.released import VGGT_1B, VGGT_HEAD
from gld_ros.pipeline import GLDPipeline
from gld_ros.views import SourceView, View

BOUND, MASK_BOUND = 2e-4, 1e-3
FIXTURE = "gen3r_end_to_end"
STEPS = 4


@pytest.fixture(scope="module")
def pipe(gen3r_adapter, gen3r_vae, gen3r_image_tower) -> GLDPipeline:
    """Still without VGGT's heads; the noise is the fixture's."""
    fixture, text = golden_file(FIXTURE), text_encoder()
    config, toy = fixture.meta["config"], replace(TOY_TRANSFORMER, layers=2)
    F, size, seed = config["frames"], config["size"], config["seed"]
    net = networks(
        Gen3RConfig(
            adapter=AdapterConfig(fixed_grid=False), transformer=toy, text=TOY_TEXT, frames=F, size=size, steps=STEPS
        ),
        adapter=gen3r_adapter,
        vae=gen3r_vae,
        image=gen3r_image_tower,
        transformer=filled(lambda: JointTransformer(toy), "gen3r/dit_e2e/"),
    )
    prompts = {"": "ids_prompt", net.config.negative_prompt: "ids_bad_detailed"}
    generator = Gen3R(net, Loading(dtype=torch.float32), lambda prompt: text(fixture[prompts[prompt]]).float())
    h = size // 8
    noise = given("latents", (1, 16, 2, h, 2 * h), seed), given("posterior.0", (1, 16, 2, h, h), seed)
    assert [x.shape for x in generator.method.noise((size, size), F, seed=0)] == [x.shape for x in noise]
    generator.method.noise = lambda size, frames, seed: noise
    generator.method.geometry = flat
    return GLDPipeline(generator)


def flat(images: torch.Tensor) -> ClipGeometry:
    """A depth of 1 everywhere, of images (1, N, 3, H, W)."""
    depth, eye = torch.ones(images[:, :, 0].shape), torch.eye(4).expand(*images.shape[:2], 4, 4)
    return ClipGeometry(depth, depth, depth[..., None], depth, eye, eye[..., :3, :3])


def request(fixture: Golden) -> tuple[list[SourceView], list[Camera]]:
    """The first and the last frame as sources, the cameras between them as targets."""
    images = fixture["images_u8"][0].permute(0, 2, 3, 1).numpy()
    H, W = images.shape[1:3]
    posed = zip(fixture["K_given"].numpy(), fixture["c2w"].numpy(), strict=True)
    first, *between, last = (Camera(K, c2w, W, H) for K, c2w in posed)
    depth = np.ones((H, W), np.float32)
    sources = [SourceView(image, camera, depth=depth) for image, camera in zip(images, (first, last), strict=True)]
    return sources, between


@pytest.fixture(scope="module")
def encoded(pipe) -> Given:
    """The encoding that the pipeline keeps of a request that was cancelled when the sources were encoded."""

    def stop(progress):
        raise Cancelled(progress.stage)

    sources, targets = request(golden_file(FIXTURE))
    with pytest.raises(Cancelled, match="encode"):
        pipe(sources, targets, strict_scale=False, callback=stop)
    pipe.generator.net.image.to("meta")  # 2.5 GB that no later test needs (conftest.py)
    return pipe.generator.recent.newest(fingerprint(sources)).given


def test_condition(fixture, compare, encoded):
    posterior = given("posterior.0", (1, 16, 2, 14, 14), fixture.meta["config"]["seed"])
    compare(fixture, "control", encoded.condition(posterior)[0], BOUND)
    compare(fixture, "clip_context_every16", encoded.picture[0, ::16, ::8], BOUND)


def wider(module, args, encodings: torch.Tensor) -> torch.Tensor:
    """The recipe's camera head reports a field of view of 0: it is given one, as for the fixture."""
    return torch.cat([encodings[..., :7], 0.6 + 0.1 * encodings[..., 7:].tanh()], dim=-1)


@pytest.mark.filterwarnings("ignore:.*contradict:UserWarning")  # recipe weights
def test_clip(fixture, compare, pipe, encoded):
    assert fixture.meta["config"]["steps"] == STEPS
    method = pipe.generator.method
    method.net.heads = built(lambda: GeometryHeads(VGGT_1B.channels, VGGT_HEAD))
    method.net.heads.camera_head.register_forward_hook(wider)
    clips, decode = [], method.decode
    method.decode = lambda latents: clips.append(decode(latents)) or clips[-1]
    with watched({"step": method.net.transformer}) as calls:
        views = pipe(*request(fixture), strict_scale=False)
    (clip,) = clips
    compare(fixture, "context_prompt", pipe.generator.texts(""), BOUND)
    times = twice_shifted_grid(method.net.config.shift, STEPS)
    compare(fixture, "sigmas", times, 1e-7)
    compare(fixture, "timesteps", torch.cat([call.args[2] for call in calls["step"]]), 1e-7)
    states = torch.cat([*(call.args[0] for call in calls["step"][1:]), clip.latents])
    compare(fixture, "latents_after_steps", states, BOUND)
    compare(fixture, "rgb_stride2", clip.images.permute(0, 2, 3, 1)[:, ::2, ::2], BOUND)
    compare(fixture, "depth_stride2", clip.geometry.depth[0, :, ::2, ::2], BOUND)
    compare(fixture, "point_maps_stride4", clip.geometry.points[0, :, ::4, ::4], BOUND)
    compare(fixture, "pcds_stride4", clip.points[:, ::4, ::4], BOUND)
    compare(fixture, "w2c", clip.geometry.w2c[0, :, :3], BOUND)
    compare(fixture, "K", clip.geometry.K[0], BOUND)
    compare.mask(fixture, "point_masks_stride4", clip.reliable[:, ::4, ::4], MASK_BOUND)
    check_views(fixture, views)


def check_views(fixture: Golden, views: list[View]) -> None:
    """The targets are frames 1 to 3: colours in 8 bits, depth times the scale."""
    assert len(views) == 3
    for view, rgb, depth in zip(views, fixture["rgb_stride2"][1:-1], fixture["depth_stride2"][1:-1], strict=True):
        np.testing.assert_allclose(view.image[::2, ::2] / 255, rgb, atol=BOUND + 0.5 / 255)
        np.testing.assert_allclose(view.depth[::2, ::2] / view.scale.value, depth, atol=BOUND * float(depth.max()))
