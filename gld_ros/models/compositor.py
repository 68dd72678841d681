# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Joins the decoded view with the warped sources: observed pixels stay what the camera saw, holes are generated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gld_ros.models.configs import CompositorConfig
from gld_ros.models.layers import conv, grow, zeroed


@dataclass
class Composite:
    """image: (B, 3, H, W). depth: (B, H, W) metres. spread: (B, H, W) expected absolute error of log depth."""

    image: Tensor
    depth: Tensor
    spread: Tensor


class Compositor(nn.Module):
    """A U-Net that mixes warp and decoded view and corrects the mixture, for colour and for log depth.

    At initialisation: the warp where it was seen, the mean of filled warp and decoded view elsewhere.
    """

    def __init__(self, config: CompositorConfig):
        super().__init__()
        a, b, c = config.widths
        self.enter = conv(3 + 3 + 2 + 1 + 1 + 1, a)
        self.down1 = nn.Sequential(conv(a, b, 2), conv(b, b))
        self.down2 = nn.Sequential(conv(b, c, 2), conv(c, c))
        self.down3 = nn.Sequential(conv(c, c, 2), conv(c, c))
        self.up2 = conv(c + c, c)
        self.up1 = conv(c + b, b)
        self.up0 = conv(b + a, a)
        self.leave = zeroed(nn.Conv2d(a, 7, 3, padding=1))

    def forward(
        self,
        decoded: Tensor,
        decoded_depth: Tensor,
        warped: Tensor,
        warped_depth: Tensor,
        spread: Tensor,
        seen: Tensor,
        disagreement: Tensor,
    ) -> Composite:
        """decoded, warped: (B, 3, H, W), holes of the warp filled; depths: (B, H, W) metres, both of one scale;
        spread: (B, H, W) of the warped depth; seen: (B, H, W) bool; disagreement: (B, H, W) of the sources' colours."""
        mask = seen[:, None].float()
        unit = warped_depth.flatten(1).median(dim=1).values[:, None, None].clamp_min(1e-9)
        logs = torch.stack([decoded_depth, warped_depth], dim=1).div(unit[:, None]).clamp(1e-3, 1e3).log()
        doubts = [spread[:, None].log() / 3 * mask, mask, 5 * disagreement[:, None]]
        x0 = self.enter(torch.cat([decoded, warped, logs, *doubts], dim=1))
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        x2 = self.up2(torch.cat([grow(x3, x2), x2], dim=1))
        x1 = self.up1(torch.cat([grow(x2, x1), x1], dim=1))
        x0 = self.up0(torch.cat([grow(x1, x0), x0], dim=1))
        change = self.leave(x0).float()
        share = torch.sigmoid(change[:, 5:] - 4 * mask)  # of the decoded view: colour, depth
        image = torch.lerp(warped, decoded, share[:, :1]) + change[:, :3]
        log_depth = torch.lerp(logs[:, 1], logs[:, 0], share[:, 1]) + change[:, 3]
        return Composite(image, log_depth.exp() * unit, (change[:, 4] - 2.0).clamp(-6, 2).exp())
