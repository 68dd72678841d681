# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Latents of clips: posterior and normalisation, the same for appearance and geometry.

A clip has 4 n + 1 frames and n + 1 latent frames. Networks read frame 0 alone, then four frames at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gld_ros.errors import InvalidRequest

#: Frames of a latent frame, but the first; and pixels of a latent pixel, each way.
TIME, SPACE = 4, 8


@dataclass
class Posterior:
    """Normal distribution of normalised latents. mean, logvar: (B, C, f, h, w).

    compat: the mean is normalised and the variance is not, as in the released model.
    """

    mean: Tensor
    logvar: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """A draw from standard normal noise of the mean's shape."""
        return self.mean + (self.logvar / 2).exp() * noise


def posterior(moments: Tensor, mean: Tensor, std: Tensor) -> Posterior:
    """The posterior of an encoder's output (B, 2 C, f, h, w), means first. mean, std: (C,) of the latents."""
    mu, logvar = moments.chunk(2, dim=1)
    return Posterior((mu - per_channel(mean, mu)) / per_channel(std, mu), logvar.clamp(-30, 20))


def per_channel(values: Tensor | list[float], like: Tensor) -> Tensor:
    """(C,) numbers as (C, 1, 1, 1) of the dtype and device of `like`."""
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)[:, None, None, None]


def latent_frames(frames: int) -> int:
    """Number of latent frames of a clip. Raises InvalidRequest for frames that are not 4 n + 1."""
    if frames < 1 or frames % TIME != 1:
        raise InvalidRequest(f"{frames} frames, expected 4n + 1: 1, 5, 9, ... 49")
    return frames // TIME + 1


def chunks(clip: Tensor) -> Iterator[Tensor]:
    """Frame 0, then four frames at a time, of (B, C, F, h, w) with F = 4 n + 1. Raises InvalidRequest."""
    latent_frames(clip.shape[2])
    yield clip[:, :, :1]
    yield from clip[:, :, 1:].split(TIME, dim=2)


def joined(parts: Iterable[Tensor]) -> Tensor:
    """The clip of parts (B, C, F, h, w)."""
    return torch.cat(list(parts), dim=2)
