# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Adversarial losses of RGB decoders: hinge discriminators, each with a weight that follows the other losses.

`Adversary` judges pictures (spec models.md B3): its discriminators say of images (N, 3, H, W) in 0..1 how real they
look, (N, M) numbers each for a part, high for real. `Critic` judges the features of `perceptual.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from gld_ros.metrics.dino import Dino
from gld_ros.training.config import DiscriminatorConfig


class ConvDiscriminator(nn.Module):
    """Three strided convolutions on pixels: judges patches of 22 pixels."""

    def __init__(self, width: int):
        super().__init__()
        widths = [3, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for a, b in zip(widths, widths[1:], strict=False):
            layers += [spectral_norm(nn.Conv2d(a, b, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 1)))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(2 * images - 1).flatten(1)


class DinoDiscriminator(nn.Module):
    """Small heads on the patch tokens of a frozen DINO ViT-S/8 at five depths, images of 224 x 224."""

    DEPTHS = (2, 5, 8, 11)  # and the normalised end

    def __init__(self, weights: str):
        super().__init__()
        self.trunk = Dino.from_file(weights)
        self.heads = nn.ModuleList(TokenHead(self.trunk.WIDTH) for _ in range(len(self.DEPTHS) + 1))

    def forward(self, images: Tensor) -> Tensor:
        size = (self.trunk.SIDE, self.trunk.SIDE)
        if tuple(images.shape[-2:]) != size:
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        levels = self.trunk(images, self.DEPTHS)
        return torch.cat([head(x.transpose(1, 2)) for head, x in zip(self.heads, levels, strict=True)], dim=1)


class TokenHead(nn.Module):
    """A head on tokens (N, C, T): a mixing layer, a wide residual one along the row of tokens, one number a token."""

    def __init__(self, channels: int):
        super().__init__()
        self.mix, self.wide = head_layer(channels, 1), head_layer(channels, 9)
        self.out = spectral_norm(nn.Conv1d(channels, 1, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.mix(tokens)
        return self.out((x + self.wide(x)) * 0.5**0.5).flatten(1)


def head_layer(channels: int, kernel: int) -> nn.Sequential:
    """Circular convolution of spectral norm 1, normalisation that does not mix images, LeakyReLU."""
    layer = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, padding_mode="circular")
    return nn.Sequential(spectral_norm(layer), nn.GroupNorm(32, channels), nn.LeakyReLU(0.2))


class Adversary(nn.Module):
    """A discriminator with its training and its say in the generator's."""

    def __init__(self, discriminator: nn.Module, config: DiscriminatorConfig):
        super().__init__()
        self.discriminator, self.config = discriminator, config

    def losses(self, made: Tensor, real: Tensor, reconstruction: Tensor, last: Tensor, step: int) -> dict[str, Tensor]:
        """Losses of both sides for images (N, 3, H, W); `last`: the generator's last layer, for the adaptive weight."""
        if step < self.config.train_after:
            # No loss yet, but a gradient for each parameter: several processes wait for all of them.
            own = [p.sum() for p in self.discriminator.parameters() if p.requires_grad]
            return {"discriminator": 0 * torch.stack(own).sum()}
        made_crop, real_crop = same_crop(made, real, self.config.crop)
        fake = (made_crop.detach().clamp(0, 1) * 255).round() / 255
        for_real, for_fake = (self.discriminator(augmented(x)).float() for x in (real_crop, fake))
        found = {"discriminator": 0.5 * hinge(for_real, for_fake)}
        if step < self.config.use_after:
            return found
        with untaught(self.discriminator):
            generator = -self.discriminator(augmented(made_crop)).float().mean()
        balance = self.balance(reconstruction, generator, last)
        return found | {"generator": self.config.weight * balance * generator, "_balance": balance}

    def balance(self, reconstruction: Tensor, generator: Tensor, last: Tensor) -> Tensor:
        """Ratio of the gradients that both losses send to the last layer."""
        ours, theirs = (torch.autograd.grad(x, last, retain_graph=True)[0].norm() for x in (reconstruction, generator))
        return (ours / (theirs + 1e-6)).clamp(0, self.config.max_weight).detach()


def adversary(config: DiscriminatorConfig) -> Adversary | None:
    """The adversary of a configuration; None for "none"."""
    if config.kind == "none":
        return None
    judge = DinoDiscriminator(config.weights) if config.kind == "dino" else ConvDiscriminator(config.width)
    return Adversary(judge, config)


class Critic(nn.Module):
    """Says of scaled features how real they look, a number a place and tap, high for real (hinge loss).

    On features that know images already, a few convolutions learn fast what gives a painted picture away.
    """

    def __init__(self, channels: list[int], width: int = 64):
        super().__init__()
        self.heads = nn.ModuleList(critic_head(c, width) for c in channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [head(x) for head, x in zip(self.heads, features, strict=True)]

    def losses(self, made: list[Tensor], real: list[Tensor], perceptual: Tensor) -> dict[str, Tensor]:
        """Its own loss, and the painter's: at each tap it pulls as hard as the perceptual loss does there."""
        own = torch.stack(list(map(hinge, self(real), self([x.detach() for x in made])))).mean()
        with untaught(self):
            painter = -torch.stack([x.mean() for x in self(made)])
        balance = pulls(perceptual, made) / (pulls(painter.sum(), made) + 1e-8)
        return {"critic": 0.5 * own, "painter": (balance * painter).sum()}


def critic_head(channels: int, width: int) -> nn.Sequential:
    """Three convolutions of spectral norm 1: (N, channels, h, w) -> (N, 1, h, w)."""
    layers = (nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 1, 1))
    first, second, last = (spectral_norm(layer) for layer in layers)
    return nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2), last)


def pulls(loss: Tensor, features: list[Tensor]) -> Tensor:
    """Norms of the loss's gradient at each of the features."""
    return torch.stack([g.norm() for g in torch.autograd.grad(loss, features, retain_graph=True)])


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss of what it says of real and of made images."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


@contextmanager
def untaught(module: nn.Module) -> Iterator[None]:
    """Its parameters get no gradient from what is computed inside: the generator is judged by it, and alone learns."""
    taught = [p for p in module.parameters() if p.requires_grad]
    for p in taught:
        p.requires_grad_(False)
    yield
    for p in taught:
        p.requires_grad_(True)


def same_crop(a: Tensor, b: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """A random square of both images (N, 3, H, W), or all of them where they are smaller or `side` is 0."""
    H, W = a.shape[-2:]
    if not side or side > min(H, W):
        return a, b
    y, x = int(torch.randint(H - side + 1, ())), int(torch.randint(W - side + 1, ()))
    return a[..., y : y + side, x : x + side], b[..., y : y + side, x : x + side]


def augmented(images: Tensor) -> Tensor:
    """Brightness, saturation, contrast and place at random, differentiably, so that a discriminator cannot learn the
    images by heart (DiffAugment)."""
    N, _, H, W = images.shape
    shift, colour, contrast = (torch.rand(N, 1, 1, 1, device=images.device) for _ in range(3))
    x = images + (shift - 0.5)
    mean = x.mean(dim=1, keepdim=True)
    x = (x - mean) * (2 * colour) + mean
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = (x - mean) * (contrast + 0.5) + mean
    reach = round(H / 8), round(W / 8)
    dy, dx = (torch.randint(-r, r + 1, (N,), device=images.device) for r in reach)
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]))
    rows = torch.arange(H, device=x.device)[None] + (dy + reach[0])[:, None]
    columns = torch.arange(W, device=x.device)[None] + (dx + reach[1])[:, None]
    scene = torch.arange(N, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[scene, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
