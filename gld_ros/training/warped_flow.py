# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training of a warp-conditioned diffusion stage on cached latents: what no source saw counts most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.diffusion.flow import interpolate, shift_time
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.gld import BOUNDARY, GLDNetworks
from gld_ros.training.latent_cache import LatentBatch
from gld_ros.training.stage import Stage

#: The fields of a cache that a level is trained on.
FIELDS = {
    1: ("level1", "sources1", "warps1", "seen", "K", "c2w"),
    0: ("level0", "level1", "sources0", "sources1", "warps0", "seen", "K", "c2w"),
}


@dataclass(frozen=True)
class WarpedFlowOptions:
    """Weights and probabilities of the training."""

    #: Share of the batches at t = 1, where all is still to be generated and sampling begins.
    pure_noise: float = 0.15
    #: Weight of a token that the sources show, beside 1 for each share of it that they do not.
    seen_weight: float = 0.3
    #: Times below this one weigh no more: 1 / t^2 is the weight of a velocity's error.
    least_time: float = 0.15
    camera_dropout: float = 0.1
    #: Share of the scenes without warped sources in level 1, for guidance. Level 0 is not guided.
    warp_dropout: float = 0.1
    #: Largest noise on the level 1 that level 0 is generated from.
    given_noise: float = 0.4
    #: Probabilities that a batch keeps only one target, or only two.
    one_target: float = 0.15
    two_targets: float = 0.25


class WarpedFlowStage(Stage):
    """Level 1 from the warped sources, or level 0 from them and level 1; the network predicts the data.

    Sources are generated, too, as in the released models.
    """

    def __init__(self, net: GLDNetworks, level: int, options: WarpedFlowOptions | None = None):
        super().__init__()
        self.dit = net.level1 if level == BOUNDARY else net.level0
        self.level, self.fields = level, FIELDS[level]
        self.config, self.options = net.config, options or WarpedFlowOptions()

    def loss(self, batch: LatentBatch) -> dict[str, Tensor]:
        """Squared error of the predicted data, weighted as a velocity's and towards what no source saw."""
        options, S = self.options, batch.sources1.shape[1]
        with torch.no_grad():
            N = self.targets(batch.seen.shape[1])
            data, given = self.truth(batch, S + N)
            cond, cameras = self.condition(batch, N), batch.cameras(self.config.compat, N)
            view_cameras = cameras.condition(self.dit, drop=bool(torch.rand(()) < options.camera_dropout))
            t = self.times(len(data)).to(data.device)
            noisy = interpolate(data, torch.randn_like(data), t)
        out = self.dit(noisy, cond, t, view_cameras.camera_map, view_cameras.tables, S, given).float()
        error = (out - data).pow(2).mean(dim=2)  # (B, V, h, w)
        unseen = F.adaptive_avg_pool2d((~batch.seen[:, :N]).float(), batch.grid)
        weight = options.seen_weight + F.pad(unseen, (0, 0, 0, 0, S, 0))
        weighted = (weight * error).mean(dim=(1, 2, 3)) / weight.mean(dim=(1, 2, 3))
        with torch.no_grad():
            hidden = (unseen * error[:, S:]).sum() / unseen.sum().clamp_min(1)
            shown = ((1 - unseen) * error[:, S:]).sum() / (1 - unseen).sum().clamp_min(1)
        loss = (weighted / t.clamp_min(options.least_time) ** 2).mean()
        return {"flow": loss, "_unseen": hidden, "_seen": shown, "_sources": error[:, :S].mean()}

    def targets(self, count: int) -> int:
        """Number of targets that a batch keeps, so that requests of any number are met."""
        chance = float(torch.rand(()))
        if chance < self.options.one_target:
            return 1
        return min(count, 2) if chance < self.options.one_target + self.options.two_targets else count

    def truth(self, batch: LatentBatch, views: int) -> tuple[Tensor, Tensor | None]:
        """The data (B, V, C, h, w) and, for level 0, level 1 as imperfect as it will be when it was generated."""
        level1 = batch.level1[:, :views]
        if self.level == BOUNDARY:
            return level1, None
        spread = self.options.given_noise * torch.rand(len(level1), 1, 1, 1, 1, device=level1.device)
        return batch.level0[:, :views], level1 + spread * torch.randn_like(level1)

    def condition(self, batch: LatentBatch, targets: int) -> Tensor:
        """The batch's condition (B, S + N, C, h, w); in level 1 some scenes lose the warped sources."""
        cond, S = batch.condition(self.level, targets), batch.sources1.shape[1]
        if self.level != BOUNDARY:
            return cond
        kept = torch.rand(len(cond), 1, 1, 1, 1, device=cond.device) >= self.options.warp_dropout
        return torch.cat([cond[:, :S], cond[:, S:] * kept], dim=1)

    def times(self, count: int) -> Tensor:
        """A time a scene: logistic-normal, shifted as in sampling, some at pure noise."""
        t = shift_time(torch.randn(count).sigmoid(), self.config.flow.shift)
        return torch.where(torch.rand(count) < self.options.pure_noise, torch.ones(()), t)


def compile_blocks(dit: MultiViewDiT) -> None:
    """Compile each transformer block for every shape it meets: image sizes by numbers of views."""
    torch._dynamo.config.recompile_limit = 64
    for block in dit.blocks:
        block.compile(dynamic=False)
