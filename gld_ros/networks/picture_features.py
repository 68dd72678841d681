# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Features that a small network learned from ImageNet: the first blocks of EfficientNet-Lite0, for posed depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.networks.layers import zeroed

#: Kernel, stride, expansion, channels and number of the blocks of each group (EfficientNet-Lite0, Apache-2.0).
GROUPS = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3))
STEM = 32
#: Groups whose outputs are handed out, at 1/2, 1/4, 1/8 and 1/16 of the pictures' size, and their channels.
TAPS = (0, 1, 2, 4)
CHANNELS = tuple(GROUPS[group][3] for group in TAPS)


class PictureFeatures(nn.Module):
    """Features of pictures (N, 3, H, W) in 0..1 at four scales: (N, C, H / 2, W / 2) to (N, C, H / 16, W / 16).

    Its weights are the published ones with their batch normalisations folded in, and are never trained further.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        self.groups = nn.ModuleList()
        channels = STEM
        for kernel, stride, expansion, out, count in GROUPS:
            blocks: list[nn.Module] = []
            for number in range(count):
                blocks.append(Bottleneck(channels, out, kernel, stride if number == 0 else 1, expansion))
                channels = out
            self.groups.append(nn.Sequential(*blocks))
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> list[Tensor]:
        x, found = F.relu6(self.stem(2 * pictures - 1)), []
        for number, group in enumerate(self.groups):
            x = group(x)
            if number in TAPS:
                found.append(x)
        return found


class Bottleneck(nn.Module):
    """Inverted bottleneck: wider, a convolution within each channel, narrower, and the input once more."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = channels * expansion
        self.expand = SameConv(channels, wide, 1, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = SameConv(wide, out, 1, 1)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.depthwise(wide)))
        return x + out if self.residual else out


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": by the remainder on the right and below where the stride is 2."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1):
        super().__init__(channels, out, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for size in (x.shape[-1], x.shape[-2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


class Hints(nn.Module):
    """Features for the layers of another network: normalised, and mixed by weights that begin at 0."""

    def __init__(self, channels: int, *layers: int):
        super().__init__()
        self.layers = layers
        self.norm = nn.GroupNorm(4, channels)
        self.mix = zeroed(nn.Conv2d(channels, sum(layers), 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (N, C, h, w). One tensor (N, c, h, w) for each of the layers' channels c."""
        return self.mix(self.norm(x)).split(self.layers, dim=1)
