# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""DINO ViT-S/8 (Caron et al. 2021), from the published file: what a picture shows, told by patches of 8 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from gld_ros.errors import InvalidRequest
from gld_ros.networks.encoder import PatchEmbed, normalize_images, position_table
from gld_ros.networks.layers import Block
from gld_ros.weights.tensor_files import read_tensors


class Dino(nn.Module):
    """The transformer without its projection head, under its published names. SIDE: of the squares it learned from."""

    DEPTH, WIDTH, HEADS, PATCH, SIDE = 12, 384, 6, 8, 224

    def __init__(self) -> None:
        super().__init__()
        C, grid = self.WIDTH, self.SIDE // self.PATCH
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, C))
        self.patch_embed = PatchEmbed(self.PATCH, C)
        self.blocks = nn.ModuleList(Block(C, self.HEADS, False, 1e-6, 1.0) for _ in range(self.DEPTH))
        self.norm = nn.LayerNorm(C, eps=1e-6)
        self.requires_grad_(False)

    @classmethod
    def from_file(cls, path: str | Path) -> Dino:
        """`dino_deitsmall8_pretrain.pth`, or the same tensors as safetensors; layer scale, which it has not, stays 1.

        Raises InvalidRequest for weights of another network, ModelError for a file that cannot be read.
        """
        state = {key.removeprefix("backbone."): value for key, value in read_tensors(Path(path)).items()}
        net = cls()
        own = net.state_dict()
        missing = [key for key in own if key not in state and not key.endswith("gamma")]
        shapes = [key for key, value in own.items() if key in state and state[key].shape != value.shape]
        if missing or shapes:
            raise InvalidRequest(
                f"{path}: no DINO ViT-S/8 weights; missing {missing[:3]}, of another shape {shapes[:3]}"
            )
        net.load_state_dict({key: state.get(key, value) for key, value in own.items()})
        return net.eval()

    def forward(self, images: Tensor, depths: Sequence[int] = ()) -> list[Tensor]:
        """Patch tokens (N, h * w, 384) after the blocks `depths`, then the final, normalised ones.

        images: (N, 3, 8 h, 8 w) in 0..1; the position table is interpolated where this is not its grid.
        """
        H, W = images.shape[-2:]
        if H % self.PATCH or W % self.PATCH:
            raise ValueError(f"images of {W}x{H} pixels: multiples of {self.PATCH} are expected")
        x = self.patch_embed(normalize_images(images))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = x + position_table(self.pos_embed, (H // self.PATCH, W // self.PATCH), offset=0.1)
        found = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in depths:
                found.append(x[:, 1:])
        return [*found, self.norm(x)[:, 1:]]
