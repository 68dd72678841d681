# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The colours of surfaces: procedural textures whose details fade before they alias."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

#: Columns of a plain material and of a photo-like one, which goes on behind them; see `COLUMNS`.
PLAIN, PHOTO = 12, 27

#: Where each number of a material stands. Blocks are planks, bricks, tiles, panes or the panels of a door.
COLUMNS = {
    "square": 6,  # amplitudes of the plain patterns
    "stripe": 7,
    "waves": 8,
    "frequency": 9,  # of the plain patterns, 1/m
    "turn": 10,  # rad
    "phase": 11,
    "block_width": 12,  # metres
    "block_height": 13,
    "block_u": 14,  # shift in blocks; 0.5 centres a block on the object
    "block_v": 15,
    "block_row": 16,  # shift of each row against the one before, in blocks
    "joint": 17,  # width in metres
    "joint_tone": 18,  # brightness of the joint against its block
    "block_tone": 19,  # how much the brightness varies from block to block
    "grain": 20,  # amplitude of the noise stretched along u
    "grain_frequency": 21,  # across the grain, 1/m
    "noise": 22,  # amplitude of the noise of three octaves
    "noise_frequency": 23,  # of its first octave, 1/m
    "glow": 24,  # light that the surface gives off itself
    "baseboard": 25,  # height above the floor in metres up to which it is painted
    "baseboard_tone": 26,  # grey of that paint
}

#: Frequencies along u and v, and amplitudes, of the plain pattern of waves.
WAVES = ((0.31, 0.17, 0.5), (-0.43, 0.61, 0.4), (1.3, -0.9, 0.3), (2.1, 2.7, 0.3), (-5.1, 3.9, 0.25))

#: Where the noise takes its values from: one table, so that every machine makes the same textures.
RANDOM = torch.tensor(np.random.default_rng(0).uniform(-1, 1, 128 * 128), dtype=torch.float32)


def turned(x: Tensor, y: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """The coordinates of (x, y) in a frame turned by an angle of this cosine and sine."""
    return cos * x + sin * y, cos * y - sin * x


def albedo(material: Tensor, uv: Tensor, height: Tensor, footprint: Tensor) -> Tensor:
    """(S, 3, R) colour of a material (S, 12 or 27, R) at uv (S, 2, R) metres; details below `footprint` fade out.

    height: (S, R) metres above the floor. footprint: (S, R) metres that a pixel spans on the surface.
    """
    mix = _plain_mix(material, uv, footprint)
    if material.shape[1] == PLAIN:
        return _blend(material, mix)
    u, v = _turned_uv(material, uv)
    joint, tone, shift = _blocks(material, u, v, footprint)
    mix = mix + 0.5 * (_grain(material, u + shift, v + shift, footprint) + _noise(material, uv, footprint))
    colour = _blend(material, mix)
    colour = colour * (1 + tone + joint * (_column(material, "joint_tone") - 1))[:, None]
    painted = ((_column(material, "baseboard") - height) / footprint + 0.5).clamp(0, 1)
    painted = torch.where(_column(material, "baseboard") > 0, painted, 0)[:, None]
    return colour + painted * (_column(material, "baseboard_tone")[:, None] - colour)


def _column(material: Tensor, name: str) -> Tensor:
    return material[:, COLUMNS[name]]


def _turned_uv(material: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    turn = _column(material, "turn")
    return turned(uv[:, 0], uv[:, 1], turn.cos(), turn.sin())


def _blend(material: Tensor, mix: Tensor) -> Tensor:
    mix = mix.clamp(0, 1)[:, None]
    return material[:, :3] * mix + material[:, 3:6] * (1 - mix)


def _square_wave(x: Tensor, blur: Tensor) -> Tensor:
    """Square wave of period 1 in -1..1 whose edges are `blur` periods wide: no aliasing."""
    wave = torch.sin(2 * math.pi * x) / (2 * math.pi * blur).clamp_min(1e-2)
    return wave.clamp(-1, 1) * (1 - blur).clamp(0, 1)


def _plain_mix(material: Tensor, uv: Tensor, footprint: Tensor) -> Tensor:
    """(S, R) share of the first colour in the plain patterns: checkers, stripes, waves."""
    frequency, phase = material[:, 9], material[:, 11]
    u, v = _turned_uv(material, uv)
    u, v = u * frequency + phase, v * frequency + 2.3 * phase
    blur = footprint * frequency
    square = _square_wave(u, blur) * _square_wave(v, blur)
    stripe = _square_wave(0.7 * v + 0.15 * torch.sin(1.7 * u), blur)
    waves = torch.zeros_like(u)
    for fu, fv, amplitude in WAVES:
        fade = torch.exp(-((3 * math.hypot(fu, fv) * blur) ** 2))
        waves = waves + amplitude * fade * torch.sin(2 * math.pi * (fu * u + fv * v) + 5 * phase * fu)
    return 0.5 + 0.5 * (material[:, 6] * square + material[:, 7] * stripe + material[:, 8] * waves)


def _random(i: Tensor, j: Tensor) -> Tensor:
    """A fixed random number in -1..1 for whole numbers i, j; repeats every 128."""
    index = i.long().remainder(128) * 128 + j.long().remainder(128)
    return RANDOM.to(i.device)[index]


def _value_noise(u: Tensor, v: Tensor) -> Tensor:
    """Smooth noise in -1..1 with one random value at each whole number of u and v."""
    i, j = torch.floor(u), torch.floor(v)
    s, t = u - i, v - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    below = _random(i, j) * (1 - s) + _random(i + 1, j) * s
    above = _random(i, j + 1) * (1 - s) + _random(i + 1, j + 1) * s
    return below * (1 - t) + above * t


def _octaves(u: Tensor, v: Tensor, frequency: Tensor, footprint: Tensor, stretch: float, scales: list[float]) -> Tensor:
    """(S, R) noise of several octaves at u, v (S, R), each weaker and fading where it is finer than the footprint.

    frequency: (S, R) of the first octave along v, 1/m; along u it is `stretch` times that. scales: of the octaves.
    """
    scale = frequency[:, None] * torch.tensor(scales, device=u.device)[:, None]
    weight = torch.tensor([0.67**k for k in range(len(scales))], device=u.device)[:, None]
    noise = _value_noise(u[:, None] * scale * stretch, v[:, None] * scale)
    fade = torch.exp(-((1.5 * scale * footprint[:, None]) ** 2))
    return (weight * fade * noise).sum(dim=1)


def _noise(material: Tensor, uv: Tensor, footprint: Tensor) -> Tensor:
    frequency, phase = _column(material, "noise_frequency"), _column(material, "phase")
    u, v = uv[:, 0] + 7 * phase, uv[:, 1] + 3 * phase
    return _column(material, "noise") * _octaves(u, v, frequency, footprint, 1, [1.0, 2.1, 4.3])


def _grain(material: Tensor, u: Tensor, v: Tensor, footprint: Tensor) -> Tensor:
    """Fibres along u, gently bent."""
    frequency, phase = _column(material, "grain_frequency"), _column(material, "phase")
    v = v + 0.015 * torch.sin(4 * u + 5 * phase)
    return _column(material, "grain") * _octaves(u, v + phase, frequency, footprint, 0.06, [1.0, 2.7])


def _lines(x: Tensor, half: Tensor, blur: Tensor) -> Tensor:
    """Share of [x - blur / 2, x + blur / 2] that lies within `half` of a whole number."""

    def covered_up_to(x: Tensor) -> Tensor:
        nearest = torch.floor(x + 0.5)
        return 2 * half * nearest + torch.minimum(torch.maximum(x - nearest, -half), half)

    blur = blur.clamp_min(1e-3)
    return (covered_up_to(x + blur / 2) - covered_up_to(x - blur / 2)) / blur


def _blocks(material: Tensor, u: Tensor, v: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Share of a pixel that is joint, brightness of its block, and a shift in metres of the block's grain."""
    width, height = _column(material, "block_width"), _column(material, "block_height")
    half = _column(material, "joint") / 2
    y = v / height + _column(material, "block_v")
    row = torch.floor(y)
    x = u / width + _column(material, "block_u") + row * _column(material, "block_row")
    across, along = _lines(x, half / width, footprint / width), _lines(y, half / height, footprint / height)
    number = _random(torch.floor(x), row)
    fade = torch.exp(-((footprint / torch.minimum(width, height)) ** 2))
    tone = _column(material, "block_tone") * fade * number
    return 1 - (1 - across) * (1 - along), tone, 3 * number
