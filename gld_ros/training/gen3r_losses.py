# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of Gen3R's geometry adapter (arXiv 2601.04090; spec gen3r.md, "Training").

What VGGT's heads make of decoded tokens is compared with what they make of the true ones; the latents' distribution is
drawn to that of the video VAE.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gld_ros.networks.gen3r.latents import Posterior

#: Weight of an iteration of the camera head beside the next one, and of the field of view beside the pose.
DECAY, FIELD_OF_VIEW = 0.6, 0.5
#: Errors beyond this count as this.
LARGEST = 100.0


def divergence(found: Posterior, other: Posterior | None = None) -> Tensor:
    """KL(found || other) (B, w), summed over channels, frames and rows as officially; None: standard normal."""
    mean, logvar = (0.0, torch.zeros(())) if other is None else (other.mean, other.logvar)
    ratio = (found.logvar - logvar).exp()
    apart = (found.mean - mean).square() * (-logvar).exp()
    return 0.5 * (apart + ratio - 1 - found.logvar + logvar).sum(dim=(1, 2, 3))


def alignment_weight(reconstruction: float, divergence: float) -> float:
    """The power of ten that takes a larger divergence down to the reconstruction loss, rounded down; 1 for others."""
    return 10.0 ** math.floor(math.log10(reconstruction / divergence)) if divergence > reconstruction else 1.0


def camera_loss(encodings: Tensor, truth: Tensor) -> Tensor:
    """L1 of encodings (iterations, B, F, 9) of the camera head, the last iteration weighing most."""
    error = (encodings - truth).abs()
    translation, rotation, view = (
        part.mean(dim=(1, 2, 3)) for part in (error[..., :3].clamp_max(LARGEST), error[..., 3:7], error[..., 7:])
    )
    rounds = len(encodings)
    weights = DECAY ** torch.arange(rounds - 1, -1, -1, device=error.device)
    return (weights * (translation + rotation + FIELD_OF_VIEW * view)).sum() / rounds


def distance_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Mean Euclidean distance over the pixels of points or depths (..., C)."""
    return (found - truth).norm(dim=-1).clamp_max(LARGEST).mean()
