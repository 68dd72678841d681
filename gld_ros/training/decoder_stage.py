# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training of RGB decoder and geometry head on noised latents, so that what diffusion makes is decoded sharply."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gld_ros.errors import InvalidRequest
from gld_ros.networks.dpt import Geometry
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.rgb_decoder import RGBDecoder
from gld_ros.training.adversarial import Critic, same_crop
from gld_ros.training.latent_cache import LatentBatch
from gld_ros.training.losses import geometry_loss
from gld_ros.training.perceptual import Perceptual, distance, patch_distance
from gld_ros.training.records import sheet
from gld_ros.training.stage import ROWS, Stage

TRAINED = ("rgb", "dpt")
#: The fields of a cache that the stage reads.
FIELDS = ("level0", "level1", "camera", "images", "depth", "K", "c2w")


@dataclass(frozen=True)
class DecoderTraining:
    """Noise and losses of the stage."""

    #: Largest standard deviation of the noise on latents; uniform from 0, one draw a scene and level.
    noise: float = 0.5
    #: Share of the scenes whose latents stay clean.
    clean: float = 0.15
    #: Share of the batches where every view has the first one's camera token, as generated views have.
    first_camera: float = 0.5
    #: Views of each scene that are painted in one step.
    views: int = 2
    l1_weight: float = 1.0
    #: Weight of the distance of the patches' distributions.
    patch_weight: float = 0.06
    #: 0: no perceptual and no adversarial loss, and the packages that both need are not asked for.
    perceptual_weight: float = 0.01
    #: Pull of the adversarial loss beside that of the perceptual one; 0: none.
    adversarial: float = 2.0
    #: Steps after which the critic learns, and after which it counts.
    critic_after: int = 0
    adversarial_after: int = 300
    #: Side of the random crops that both see, pixels; 0: whole images.
    crop: int = 96
    geometry_weight: float = 0.3
    #: Steps from one that trains the geometry head too to the next; it costs as much as painting two views.
    geometry_every: int = 2


class DecoderStage(Stage):
    """RGB decoder (L1, perceptual and adversarial loss) and geometry head; everything else of `net` is frozen.

    Raises InvalidRequest for a model without a geometry head, and where the perceptual loss's packages are missing.
    """

    fields: tuple[str, ...] = FIELDS
    has_unused_parameters = True  # geometry head and critic in some steps

    def __init__(self, net: GLDNetworks, options: DecoderTraining | None = None):
        super().__init__()
        options = options or DecoderTraining()
        if net.config.dpt is None:
            raise InvalidRequest(f"model '{net.config.name}' has no geometry head (dpt), which this stage trains")
        self.net, self.options = net.requires_grad_(False), options
        for name in TRAINED:
            getattr(net, name).requires_grad_(True)
        net.rgb.decoder_pos_embed.requires_grad_(False)
        others = [name for name, _ in net.named_children() if name not in TRAINED]
        self.frozen = (*(f"net.{name}." for name in others), "perceptual.")
        self.perceptual = Perceptual.lite0() if options.perceptual_weight else None
        self.critic: Critic | None = None
        if self.perceptual is not None and options.adversarial:
            self.critic = Critic(self.perceptual.channels)

    def loss(self, batch: LatentBatch) -> dict[str, Tensor]:
        features = self.features(batch)
        chosen = torch.randperm(batch.images.shape[1])[: self.options.views].tolist()
        made = self.net.rgb([x[:, chosen] for x in features], batch.grid).flatten(0, 1)
        losses = self.picture_losses(made, pictures(batch.images[:, chosen]).flatten(0, 1))
        if self.step % self.options.geometry_every == 0:
            losses |= self.geometry_losses(batch, features)
        return losses

    def features(self, batch: LatentBatch) -> list[Tensor]:
        """Four levels (B, V, h * w, C) as the decoders read them, from noised latents."""
        options = self.options
        camera = batch.camera
        if torch.rand(()) < options.first_camera:
            camera = camera[:, :1].expand_as(camera)
        level0, level1 = (noised(x, options.noise, options.clean) for x in (batch.level0, batch.level1))
        with torch.no_grad():
            return self.net.features(level0, level1, batch.grid, camera)

    def picture_losses(self, made: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Losses of painted pictures (N, 3, H, W), 0..1; names with "_" are PSNR and gradient energy over the truth's.

        Raises InvalidRequest where the decoder does not paint at the size of the pictures.
        """
        if made.shape != real.shape:
            painted, given = (f"{x.shape[-1]}x{x.shape[-2]}" for x in (made, real))
            raise InvalidRequest(f"the decoder paints {painted}, the pictures are {given}: see rgb.upscale")
        options = self.options
        losses = {"l1": options.l1_weight * (made - real).abs().mean()}
        with torch.no_grad():
            losses["_psnr"] = -10 * (made.clamp(0, 1) - real).pow(2).mean(dim=(1, 2, 3)).log10().mean()
            losses["_sharpness"] = gradient_energy(made) / gradient_energy(real)
        parts = same_crop(made, real, options.crop)
        if options.patch_weight:
            losses["patches"] = options.patch_weight * patch_distance(*parts)
        if self.perceptual is not None:
            losses |= self.feature_losses(self.perceptual, *parts)
        return losses

    def feature_losses(self, perceptual: Perceptual, made: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Perceptual and adversarial losses of pictures (N, 3, H, W), 0..1."""
        options, weight = self.options, self.options.perceptual_weight
        # In float32: autocast makes small convolutions slower on a CPU, not faster.
        with torch.autocast(made.device.type, enabled=False):
            features, truth = perceptual(made, real)
            losses = {"perceptual": weight * distance(features, truth)}
            if self.critic is not None and self.step >= options.critic_after:
                found = self.critic.losses(features, truth, losses["perceptual"])
                counts = self.step >= options.adversarial_after
                losses |= {"critic": found["critic"]}
                losses["painter" if counts else "_painter"] = options.adversarial * found["painter"]
        return losses

    def geometry_losses(self, batch: LatentBatch, features: list[Tensor], view: int | None = None) -> dict[str, Tensor]:
        """Losses of the geometry head, of the first view, which is the world, and of one other, by default a random
        one."""
        views = [0, int(torch.randint(1, batch.depth.shape[1], ())) if view is None else view]
        depth, K, c2w = (x[:, views] for x in (batch.depth, batch.K, batch.c2w))
        geometry = self.net.dpt([x[:, views] for x in features], batch.grid, depth.shape[-2:])
        # The unit of the head is the mean depth of all views of a scene, that of the loss the one of these two.
        ratio = batch.depth.mean(dim=(1, 2, 3)) / depth.mean(dim=(1, 2, 3))
        found = geometry_loss(scaled(geometry, ratio), depth, K, c2w)
        return {name: self.options.geometry_weight * value for name, value in found.items()}

    def sheet(self, batch: LatentBatch) -> Tensor:
        """For two scenes: the pictures, what is painted from clean latents and from noised ones."""
        clean = self.net.features(batch.level0[:ROWS], batch.level1[:ROWS], batch.grid, batch.camera[:ROWS])
        noisy = [x[:ROWS] for x in self.features(batch)]
        return sheet(pictures(batch.images[:ROWS]), *(self.net.rgb(x, batch.grid) for x in (clean, noisy)))


@torch.no_grad()
def grow_decoder(net: GLDNetworks, upscale: int = 2, tail: int = 32) -> None:
    """Give `net`, whose RGB decoder has no tail, one that has: it begins with the same pictures, enlarged.

    They come from the first three channels of the tail, by bilinear interpolation.
    """
    old, config = net.rgb, replace(net.config.rgb, upscale=upscale, tail=tail)
    new = RGBDecoder(net.config.encoder.channels, net.config.encoder.patch, config).to(old.decoder_pred.weight.device)
    assert new.tail is not None
    state = {key: value for key, value in old.state_dict().items() if not key.startswith("decoder_pred.")}
    new.load_state_dict(state, strict=False)
    for ours, theirs in zip(new.decoder_pred.parameters(), old.decoder_pred.parameters(), strict=True):
        ours.unflatten(0, (-1, tail))[:, :3] = theirs.unflatten(0, (-1, 3))
    for layer in (new.tail.conv2, new.tail.out):
        for parameter in layer.parameters():
            parameter.zero_()
    for colour, painted in enumerate(new.tail.out.weight.split(upscale**2)):
        painted[:, colour] = bilinear_kernels(upscale)
    net.rgb, net.config = new, replace(net.config, rgb=config)


def bilinear_kernels(upscale: int) -> Tensor:
    """(upscale^2, 3, 3): how each pixel painted for an encoded one comes from this one and its neighbours."""
    place = (torch.arange(upscale) + 0.5) / upscale - 0.5
    weights = (1 - (place[:, None] - torch.tensor([-1.0, 0.0, 1.0])).abs()).clamp_min(0)
    return (weights[:, None, :, None] * weights[None, :, None, :]).flatten(0, 1)


def pictures(images: Tensor) -> Tensor:
    """Images as float32 in 0..1; caches keep them as uint8."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def noised(latents: Tensor, largest: float, clean: float) -> Tensor:
    """Latents (B, V, C, h, w) with noise of a deviation drawn for each scene, 0 .. `largest`, 0 for a share `clean`."""
    B = len(latents)
    deviation = largest * torch.rand(B) * (torch.rand(B) >= clean)
    return latents + deviation.to(latents)[:, None, None, None, None] * torch.randn_like(latents)


def scaled(geometry: Geometry, factor: Tensor) -> Geometry:
    """The geometry (B, V, ...) in another unit of length: depths and camera centres times `factor` (B,)."""
    rays = geometry.rays
    if rays is not None:
        rays = torch.cat([rays[..., :3], rays[..., 3:] * factor[:, None, None, None, None]], dim=-1)
    return replace(geometry, depth=geometry.depth * factor[:, None, None, None], rays=rays)


def gradient_energy(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels' grey values of (N, 3, H, W)."""
    images = images.mean(dim=1)
    return images.diff(dim=1).pow(2).mean() + images.diff(dim=2).pow(2).mean()
