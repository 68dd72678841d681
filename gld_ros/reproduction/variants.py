# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Variants that are trained, systems made of them, and experiments that compare systems."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.reproduction.plans import Plan
from gld_ros.training.flow_stage import FlowStage
from gld_ros.training.latents import LatentSpace

#: Latent spaces: levels of an encoder trained for geometry and pictures, of one trained for pictures alone, a VAE's of
#: as many latent values, and one's of few channels, as latent diffusion uses them.
GEOMETRY, PICTURES, VAE, COMPRESSED = "geometry", "pictures", "vae", "compressed"


@dataclass(frozen=True)
class Variant:
    """One diffusion stage: the level of a space that it generates, and the level it is conditioned on, if any."""

    space: str
    level: int
    given: int | None = None


VARIANTS = {
    "level1": Variant(GEOMETRY, 1),
    "vae": Variant(VAE, 0),
    "compressed": Variant(COMPRESSED, 0),
    "dino": Variant(PICTURES, 1),
    "cascade": Variant(GEOMETRY, 0, given=1),
    "level0": Variant(GEOMETRY, 0),
    "level2": Variant(GEOMETRY, 2),
    "level3": Variant(GEOMETRY, 3),
}
#: Diffusion stages of each system, in the order of sampling.
SYSTEMS = {name: (name,) for name in VARIANTS if name != "cascade"} | {
    "cascade": ("level1", "cascade"),
    "independent": ("level1", "level0"),
}
TITLES = {
    "level1": "GLD, level 1 alone",
    "cascade": "GLD, level 1, then level 0 from it (cascade)",
    "independent": "GLD, levels 1 and 0 independently",
    "vae": "VAE latent",
    "compressed": "VAE latent of few channels",
    "dino": "level 1 of an encoder without geometry (DINO-like)",
    **{f"level{k}": f"level {k} first" for k in (0, 2, 3)},
}
#: Systems that each experiment compares: convergence, boundary level, cascade.
EXPERIMENTS = {
    "a": ("level1", "vae", "compressed", "dino"),
    "b": ("level0", "level1", "level2", "level3"),
    "c": ("level1", "cascade", "independent"),
}


def needed(only: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Representations, variants and systems of the experiments; InvalidRequest for unknown ones."""
    if unknown := [name for name in only if name not in EXPERIMENTS]:
        raise InvalidRequest(f"experiments {', '.join(unknown)}: expected some of {', '.join(EXPERIMENTS)}")
    systems = [name for name in SYSTEMS if any(name in EXPERIMENTS[e] for e in only)]
    variants = [name for name in VARIANTS if any(name in SYSTEMS[s] for s in systems)]
    spaces = {VARIANTS[name].space for name in variants}
    return [name for name in (GEOMETRY, PICTURES, VAE, COMPRESSED) if name in spaces], variants, systems


def build_stage(plan: Plan, name: str, space: LatentSpace) -> FlowStage:
    """A fresh stage; all of them have the same number of parameters, which is checked.

    Only the layers into and out of a latent of few channels are smaller.
    """
    variant = VARIANTS[name]
    config = replace(plan.dit, level1_channels=0 if variant.given is None else space.channels)
    torch.manual_seed(plan.seed)
    dit = MultiViewDiT(space.channels, space.patch, config)
    expected = parameters(MultiViewDiT(plan.encoder.channels, plan.encoder.patch, plan.dit))
    if parameters(dit) != expected and space.channels == plan.encoder.channels:
        raise ModelError(f"variant {name} has {parameters(dit):,} parameters, the others have {expected:,}")
    return FlowStage(space, dit, variant.level, variant.given, plan.flow, plan.training)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
