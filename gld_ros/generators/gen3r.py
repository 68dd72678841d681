# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Gen3R on tensors (arXiv 2601.04090, spec gen3r.md): condition, one diffusion over [appearance | geometry], decoding.

A clip of 4 n + 1 frames is generated from its first frame, its first and last, or all, with cameras or without. All
lengths are VGGT's: neither the rays nor the geometry have a metric scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from gld_ros.diffusion.flow import twice_shifted_grid
from gld_ros.diffusion.sampler import Sampling, integrate
from gld_ros.errors import InvalidRequest
from gld_ros.generators.devices import Residency, has_bfloat16
from gld_ros.generators.request import Loading
from gld_ros.networks.gen3r.conditions import (
    condition,
    eight_bits,
    latent_size,
    no_rays,
    packed_rays,
    padded_clip,
    rays,
)
from gld_ros.networks.gen3r.geometry import ClipGeometry, reliable, token_maps, unprojected
from gld_ros.networks.gen3r.latents import SPACE, Posterior, latent_frames
from gld_ros.networks.gen3r.model import Gen3RNetworks

#: The transformer's times are 0..1000.
TIMES = 1000


@dataclass
class Given:
    """The images of a request, encoded. appearance: posterior of the padded clip; picture: (1, 257, C) tokens of the
    first image; images: how many; frames: of the clip."""

    appearance: Posterior
    picture: Tensor
    images: int
    frames: int

    def condition(self, noise: Tensor) -> Tensor:
        """(1, 20, f, h, 2w) latents and masks, by the noise (1, 16, f, h, w) of the posterior's sample."""
        return condition(self.appearance.sample(noise).float(), self.images, self.frames)


@dataclass
class Clip:
    """A generated clip. latents: (1, 16, f, h, 2w), appearance left, geometry right; images: (F, 3, H, W) 0..1;
    geometry: in VGGT's units."""

    latents: Tensor
    images: Tensor
    geometry: ClipGeometry

    @property
    def points(self) -> Tensor:
        """(F, H, W, 3), the depth unprojected by the generated cameras."""
        return unprojected(self.geometry.depth[0], self.geometry.w2c[0], self.geometry.K[0])

    @property
    def reliable(self) -> Tensor:
        """(F, H, W) bool, False for the nearest and farthest depths of each frame."""
        return reliable(self.geometry.depth[0])


class JointDiffusion:
    """The networks of a Gen3R at work on one device. `dtype` is that of autocast; cameras and latents stay float32."""

    def __init__(self, net: Gen3RNetworks, loading: Loading):
        self.net, self.device = net, loading.device
        self.residency = Residency(net, self.device, loading.offload)
        fast = has_bfloat16(self.device) and any(p.dtype == torch.bfloat16 for p in net.parameters())
        self.dtype = loading.dtype or (torch.bfloat16 if fast else torch.float32)

    @torch.inference_mode()
    def encode(self, images: Tensor, frames: int) -> Given:
        """The condition of a clip of F frames. images: (1, 1, 2 or F, 3, H, W) in 0..1, H and W multiples of patch and
        latent. Raises InvalidRequest."""
        self.check_size((images.shape[-2], images.shape[-1]))
        with self.autocast():
            with self.residency.at_work("vae"):
                found = self.net.vae.encode(padded_clip(images, frames))
            with self.residency.at_work("image"):
                picture = self.net.image(eight_bits(images[0, 0]))
        return Given(found, picture, images.shape[1], frames)

    @torch.inference_mode()
    def geometry(self, images: Tensor) -> ClipGeometry:
        """The geometry that VGGT sees in images (1, N, 3, H, W) in 0..1, in its units."""
        with self.autocast():
            with self.residency.at_work("encoder"):
                levels = self.net.encoder(images)
            with self.residency.at_work("heads"):
                return self.net.heads(token_maps(levels), (images.shape[-2], images.shape[-1]))

    @torch.inference_mode()
    def sample(
        self,
        given: Given,
        texts: tuple[Tensor, Tensor],
        cameras: tuple[Tensor, Tensor] | None,
        sampling: Sampling,
        noise: tuple[Tensor, Tensor],
        on_step: Callable[[int], bool | None] = lambda step: None,
    ) -> Tensor:
        """Latents (1, 16, f, h, 2w) of both halves. noise: of them and of the condition's posterior, see `noise`.

        texts: states of the prompt and of what is not wanted; cameras: of all frames, K (F, 3, 3) in pixels and c2w
        (F, 4, 4) in VGGT's lengths, or None. Guidance weighs the texts alone, so that all but the texts is embedded
        once: as officially, both branches know cameras and images.
        """
        net, (prompt, negative) = self.net.transformer, texts
        with self.residency.at_work("transformer"), self.autocast():
            cond = given.condition(noise[1])
            control = net.control_of(self._rays(cameras, given.frames, noise[1]))
            context = net.context_of([negative, prompt] if sampling.guided else [prompt], given.picture)

            def velocity(x: Tensor, t: Tensor) -> Tensor:
                out = net(x, cond, TIMES * t.to(x.device), context, control)
                return out[-1:] if len(out) == 1 else out[:1] + sampling.guidance_scale * (out[1:] - out[:1])

            times = twice_shifted_grid(self.net.config.shift, sampling.steps)
            return integrate(velocity, noise[0], times, sampling.solver, on_step)

    def _rays(self, cameras: tuple[Tensor, Tensor] | None, frames: int, latents: Tensor) -> Tensor:
        """Rays of cameras, or of none, packed for the transformer. latents: (1, 16, f, h, w), of one half."""
        size = (SPACE * latents.shape[-2], SPACE * latents.shape[-1])
        if cameras is None:
            return no_rays(frames, size, latents)
        return packed_rays(rays(cameras[0].to(self.device), cameras[1].to(self.device), size))

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Clip:
        """Images by the video VAE from the left half, geometry by adapter and VGGT's heads from the right half."""
        appearance, geometry = latents.chunk(2, dim=-1)
        size = (SPACE * appearance.shape[-2], SPACE * appearance.shape[-1])
        with self.autocast():
            with self.residency.at_work("vae"):
                images = self.net.vae.decode(appearance)[0].transpose(0, 1).float()
            with self.residency.at_work("adapter"), self.residency.at_work("heads"):
                found = self.net.heads(self.net.adapter.decoded(geometry), size)
        return Clip(latents, images, found)

    def noise(self, size: tuple[int, int], frames: int, seed: int) -> tuple[Tensor, Tensor]:
        """Noise of the latents (1, 16, f, h, 2w) and of the condition's posterior (1, 16, f, h, w), the same on every
        device."""
        generator = torch.Generator().manual_seed(seed)
        h, w = latent_size(size)
        shape = (1, self.net.config.transformer.latent, latent_frames(frames), h)
        joint, posterior = (torch.randn(*shape, width, generator=generator) for width in (2 * w, w))
        return joint.to(self.device), posterior.to(self.device)

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise InvalidRequest unless images of (H, W) are made of whole patches of VGGT and of the transformer."""
        patch = self.patch
        if size[0] % patch or size[1] % patch:
            raise InvalidRequest(f"images of {size[1]}x{size[0]} pixels, expected multiples of {patch}")

    @property
    def patch(self) -> int:
        """Pixels, each way, that image sizes are multiples of."""
        return math.lcm(self.net.config.encoder.patch, 2 * SPACE)

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
