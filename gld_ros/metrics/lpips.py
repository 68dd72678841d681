# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""LPIPS (Zhang et al. 2018) on VGG-16, from weights the user has: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.weights.tensor_files import read_tensors

#: The two published files: VGG-16 trained on ImageNet (torchvision) and LPIPS' linear layers (version 0.1).
BACKBONE, LINEAR = "vgg16-397923af.pth", "vgg.pth"
#: Channels of the convolutions before each pooling.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
#: LPIPS' own normalisation of images in -1..1.
MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """Distance of images as VGG-16 sees them; 0 = alike. `vgg` has torchvision's layers, `linear` a weight a stage."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for stage in STAGES:
            for channels in stage:
                layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
                width = channels
            layers.append(nn.MaxPool2d(2))
        self.vgg = nn.Sequential(*layers[:-1])
        self.linear = nn.ParameterList(torch.ones(stage[-1]) for stage in STAGES)
        self.requires_grad_(False)

    @classmethod
    def from_folder(cls, folder: str | Path) -> LPIPS:
        """Weights of the files BACKBONE and LINEAR. Raises InvalidRequest naming what is missing or does not fit."""
        backbone, linear = (_read(Path(folder) / name) for name in (BACKBONE, LINEAR))
        net = cls()
        for name, own in net.state_dict().items():
            part, _, rest = name.partition(".")
            state, key = (backbone, f"features.{rest}") if part == "vgg" else (linear, f"lin{rest}.model.1.weight")
            if key not in state or state[key].numel() != own.numel():
                raise InvalidRequest(f"{folder}: no '{key}' of {own.numel()} numbers; are these the files for VGG-16?")
            own.copy_(state[key].reshape(own.shape))
        return net.eval()

    def features(self, images: Tensor) -> list[Tensor]:
        """Activations before each pooling, unit length over channels, of images (B, 3, H, W) 0..1."""
        x = (2 * images - 1 - images.new_tensor(MEAN)[:, None, None]) / images.new_tensor(STD)[:, None, None]
        found = []
        for layer in [*self.vgg, nn.MaxPool2d(2)]:
            if isinstance(layer, nn.MaxPool2d):
                found.append(x / (x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10))
            x = layer(x)
        return found

    def forward(self, image: Tensor, real: Tensor) -> list[Tensor]:
        """Distance maps (B, h, w) of the five stages of images (B, 3, H, W), 0..1, at least 16 pixels a side.

        LPIPS is the sum of their means.
        """
        pairs = zip(self.features(image), self.features(real), self.linear, strict=True)
        return [((a - b).pow(2) * weight[:, None, None]).sum(dim=1) for a, b, weight in pairs]

    @torch.inference_mode()
    def distances(self, image: np.ndarray, real: np.ndarray) -> tuple[float, np.ndarray]:
        """LPIPS of (H, W, 3) uint8 images, and a map (H, W) of where it comes from, for means over regions."""
        a, b = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in (image, real))
        stages = self(a, b)
        size = image.shape[:2]
        maps = [F.interpolate(x[:, None], size=size, mode="bilinear", align_corners=False)[0, 0] for x in stages]
        return float(sum(x.mean() for x in stages)), torch.stack(maps).sum(dim=0).numpy()


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(path)
    except (ModelError, OSError) as error:
        raise InvalidRequest(f"{error}; LPIPS needs {BACKBONE} and {LINEAR}") from error
