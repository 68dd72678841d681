# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Gen3R's method at a small size: from one, two and all images, with cameras and without; what it refuses."""

import sys

import pytest
import torch
from builders.gen3r_folder import TINY

from gld_ros.diffusion.sampler import Sampling
from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.generators.gen3r import JointDiffusion
from gld_ros.generators.request import Loading
from gld_ros.networks.gen3r.adapter import GeometryAdapter
from gld_ros.networks.gen3r.conditions import given_frames, packed, path
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.networks.gen3r.towers import VideoVAE

SIZE, FRAMES = (TINY.size, TINY.size), TINY.frames


@pytest.fixture(scope="module")
def method() -> JointDiffusion:
    torch.manual_seed(0)
    return JointDiffusion(Gen3RNetworks(TINY).eval().requires_grad_(False), Loading())


def images(count: int, size=SIZE) -> torch.Tensor:
    return torch.rand(1, count, 3, *size, generator=torch.Generator().manual_seed(1))


def latents(method, count: int, cameras: bool, guidance: float = 5.0) -> torch.Tensor:
    noise = method.noise(SIZE, FRAMES, seed=2)
    given = method.encode(images(count), FRAMES)
    texts = method.net.text(torch.tensor([3, 4, 1])), method.net.text(torch.tensor([5, 1]))
    K = torch.tensor([[100.0, 0, 56], [0, 100, 56], [0, 0, 1]]).expand(FRAMES, 3, 3)
    posed = (K, path("zoom_in", FRAMES, 0.5)) if cameras else None
    return method.sample(given, texts, posed, Sampling(2, guidance), noise)


@pytest.mark.parametrize("count", [1, 2, FRAMES])
@pytest.mark.parametrize("cameras", [True, False])
def test_clips(method, count, cameras):
    clip = method.decode(latents(method, count, cameras))
    assert clip.images.shape == (FRAMES, 3, *SIZE) and clip.points.shape == (FRAMES, *SIZE, 3)
    assert clip.geometry.w2c.shape == (1, FRAMES, 4, 4) and clip.reliable.shape == (FRAMES, *SIZE)
    assert all(x.isfinite().all() for x in (clip.images, clip.geometry.depth, clip.geometry.K))


def test_everything_counts(method):
    """Cameras, images and guidance change the clip; the same request gives the same one."""
    base = latents(method, 1, cameras=True)
    assert torch.equal(base, latents(method, 1, cameras=True))
    others = latents(method, 2, True), latents(method, 1, False), latents(method, 1, True, guidance=1.0)
    assert all((other - base).abs().max() > 1e-4 for other in others)


def test_offloaded_in_bfloat16():
    """The weights of a component are on the device while it works; the latents stay float32."""
    torch.manual_seed(0)
    net = Gen3RNetworks(TINY).eval().requires_grad_(False)
    loading = Loading(dtype=torch.bfloat16, offload="sequential")
    made = latents(JointDiffusion(net, loading), 2, cameras=True)
    assert made.dtype == torch.float32 and made.isfinite().all()


def test_frames_and_sizes(method):
    with pytest.raises(InvalidRequest, match="3 images for a clip of 5 frames, expected 1, 2 or 5"):
        method.encode(images(3), FRAMES)
    with pytest.raises(InvalidRequest, match="126x112 pixels, expected multiples of 112"):
        method.encode(images(1, (112, 126)), FRAMES)
    with pytest.raises(InvalidRequest, match="6 frames, expected 4n"):
        method.encode(images(1), 6)
    with pytest.raises(InvalidRequest, match="'zoom', expected one of zoom_in"):
        path("zoom", FRAMES, 1.0)


def test_masks_of_frames():
    """The first frame fills the first group of four; the last is the last of its group."""
    assert given_frames(2, 9) == [0, 8]
    mask = torch.zeros(1, 9, 1, 1, 1)
    mask[:, [0, 8]] = 1
    assert packed(mask)[0, :, :, 0, 0].T.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_adapter_looks_back_only():
    """Later frames change nothing of earlier ones, in both directions."""
    torch.manual_seed(0)
    adapter = GeometryAdapter(TINY.adapter).eval()
    tokens = torch.randn(1, TINY.adapter.tokens, 9, 8, 8)
    whole, part = adapter.encode(tokens), adapter.encode(tokens[:, :, :5])
    assert torch.equal(whole.mean[:, :, :2], part.mean)
    decoded = adapter.decode(whole.mean)
    assert decoded.shape == tokens.shape
    assert torch.allclose(decoded[:, :, :5], adapter.decode(part.mean), atol=1e-6)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ModelError, match="needs the extra 'gen3r' .* pip install 'diffusers>=0.35,<1' 'transformers"):
        VideoVAE()
