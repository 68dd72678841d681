# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Photo-like materials drawn at random: rows of `SceneBatch.surfaces` with the columns of `textures.COLUMNS`."""

from __future__ import annotations

import colorsys
import math

import numpy as np

from gld_ros.data.textures import COLUMNS, PHOTO

Rng = np.random.Generator
#: Where a number is not given. Without blocks, one block covers everything.
DEFAULTS = {"frequency": 1, "block_width": 1e3, "block_height": 1e3, "block_u": 0.5, "block_v": 0.5} | {
    "joint_tone": 1,
    "grain_frequency": 20,
    "noise_frequency": 4,
}


def material(colour: np.ndarray, other: np.ndarray, **numbers: float) -> np.ndarray:
    """(27,) row of a material between two RGB colours (3,); numbers: by name, see `textures.COLUMNS`."""
    row = np.zeros(PHOTO)
    row[:3], row[3:6] = np.clip(colour, 0.02, 1), np.clip(other, 0.02, 1)
    for name, number in (DEFAULTS | numbers).items():
        row[COLUMNS[name]] = number
    return row


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def any_colour(rng: Rng, saturation: float = 0.5) -> np.ndarray:
    return hsv(rng.random(), rng.uniform(0, saturation), rng.uniform(0.25, 0.95))


def wood(rng: Rng, **numbers: float) -> np.ndarray:
    """Fibres along u between two browns."""
    light = hsv(rng.uniform(0.05, 0.11), rng.uniform(0.25, 0.65), rng.uniform(0.3, 0.9))
    drawn = {"grain": rng.uniform(0.6, 1.3), "grain_frequency": rng.uniform(12, 40), "noise": 0.2}
    return material(light, light * rng.uniform(0.5, 0.8), phase=rng.uniform(0, 9), **(drawn | numbers))


def paint(rng: Rng, colour: np.ndarray, **numbers: float) -> np.ndarray:
    """Nearly one colour, a little cloudy."""
    drawn = {"noise": rng.uniform(0.2, 0.7), "noise_frequency": math.exp(rng.uniform(0, 2.5))}
    return material(colour, colour * rng.uniform(0.82, 0.95), phase=rng.uniform(0, 9), **(drawn | numbers))


def fabric(rng: Rng) -> np.ndarray:
    """One colour, stripes or checks with fine noise."""
    colour = any_colour(rng, 0.7)
    pattern = {"stripe": rng.uniform(0.4, 1)} if rng.random() < 0.25 else {}
    if not pattern and rng.random() < 0.2:
        pattern = {"square": rng.uniform(0.4, 1)}
    other = any_colour(rng, 0.6) if pattern else colour * 0.75
    return material(
        colour, other, **pattern, frequency=rng.uniform(3, 9), noise=0.5, noise_frequency=rng.uniform(15, 50),
        phase=rng.uniform(0, 9),
    )  # fmt: skip


def carpet(rng: Rng) -> np.ndarray:
    colour = any_colour(rng, 0.5)
    return material(colour, colour * 0.7, noise=1.0, noise_frequency=rng.uniform(8, 40), phase=rng.uniform(0, 9))


def rug(rng: Rng, half: np.ndarray) -> np.ndarray:
    """A carpet with waves or stripes and a border; half: (2,) metres."""
    pattern = {str(rng.choice(["waves", "stripe", "square"])): rng.uniform(0.5, 1)}
    return material(
        any_colour(rng, 0.8), any_colour(rng, 0.8), **pattern, frequency=rng.uniform(1, 4), noise=0.4,
        noise_frequency=25, block_width=2 * half[0], block_height=2 * half[1], joint=rng.uniform(0, 0.3),
        joint_tone=rng.uniform(0.4, 1.3), phase=rng.uniform(0, 9),
    )  # fmt: skip


def planks(rng: Rng) -> np.ndarray:
    width = rng.uniform(0.08, 0.22)
    return wood(
        rng, turn=rng.choice([0, math.pi / 2]), block_width=width * rng.uniform(5, 10), block_height=width,
        block_row=rng.uniform(0.3, 0.45), joint=rng.uniform(0.004, 0.012), joint_tone=rng.uniform(0.3, 0.7),
        block_tone=rng.uniform(0.05, 0.22),
    )  # fmt: skip


def tiles(rng: Rng, largest: float = 0.6) -> np.ndarray:
    width = rng.uniform(0.15, largest)
    height = width * rng.choice([1, 1, 0.5])
    colour = hsv(rng.random(), rng.uniform(0, 0.35), rng.uniform(0.35, 0.95))
    numbers = {"block_row": rng.choice([0, 0, 0.5]), "block_tone": rng.uniform(0.02, 0.15)}
    return paint(
        rng, colour, block_width=width, block_height=height, block_u=rng.random(), block_v=rng.random(),
        joint=rng.uniform(0.006, 0.02), joint_tone=rng.choice([0.5, 0.7, 1.3]), **numbers,
    )  # fmt: skip


def bricks(rng: Rng, **numbers: float) -> np.ndarray:
    size = rng.uniform(0.8, 1.5)
    colour = hsv(rng.uniform(0.0, 0.07), rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.85))
    return material(
        colour, colour * 0.7, noise=0.7, noise_frequency=20, block_width=0.24 * size, block_height=0.08 * size,
        block_row=0.5, joint=0.014 * size, joint_tone=rng.choice([0.5, 1.5]), block_tone=rng.uniform(0.1, 0.25),
        phase=rng.uniform(0, 9), **numbers,
    )  # fmt: skip


def floor(rng: Rng) -> np.ndarray:
    kind = rng.random()
    return planks(rng) if kind < 0.45 else tiles(rng) if kind < 0.75 else carpet(rng)


def wall(rng: Rng) -> np.ndarray:
    """Plaster most often, wallpaper, bricks or tiles; with a baseboard most often."""
    board = {}
    if rng.random() < 0.75:
        board = {"baseboard": rng.uniform(0.05, 0.14), "baseboard_tone": rng.choice([0.15, 0.35, 0.85, 0.95])}
    kind = rng.random()
    if kind < 0.12:
        return bricks(rng, **board)
    colour = hsv(rng.random(), 0.4 * rng.random() ** 2, rng.uniform(0.5, 0.97))
    if kind < 0.24:
        return paint(rng, colour, stripe=rng.uniform(0.2, 0.8), turn=math.pi / 2, frequency=rng.uniform(2, 8), **board)
    if kind < 0.32:
        board |= {"waves": rng.uniform(0.4, 1.0), "frequency": rng.uniform(2, 6)}
    return paint(rng, colour, **board)


def ceiling(rng: Rng) -> np.ndarray:
    """Pale; sometimes of panels."""
    colour = hsv(rng.random(), rng.uniform(0, 0.08), rng.uniform(0.8, 1))
    panels = {}
    if rng.random() < 0.3:
        size = rng.choice([0.6, 1.2])
        panels = {"block_width": size, "block_height": 0.6, "joint": 0.02, "joint_tone": 0.75, "block_tone": 0.03}
    return paint(rng, colour, **panels)


def window(rng: Rng, half: np.ndarray) -> np.ndarray:
    """Bright panes between bars; half: (2,) metres of the whole."""
    sky = hsv(rng.uniform(0.52, 0.62), rng.uniform(0, 0.4), rng.uniform(0.75, 1))
    return material(
        sky, sky * rng.uniform(0.5, 0.9), waves=rng.uniform(0, 0.6), frequency=0.7, glow=rng.uniform(0.1, 0.5),
        block_width=half[0] * 2 / rng.integers(1, 4), block_height=half[1] * 2 / rng.integers(1, 3),
        block_u=rng.choice([0, 0.5]), joint=rng.uniform(0.05, 0.1), joint_tone=rng.choice([0.35, 1.4]),
        phase=rng.uniform(0, 9),
    )  # fmt: skip


def door(rng: Rng, half: np.ndarray) -> np.ndarray:
    """Wooden or painted, with panels; half: (2,) metres of the whole."""
    panels = {
        "block_width": 2 * half[0] / rng.integers(1, 3), "block_height": 2 * half[1] / rng.integers(1, 4),
        "joint": rng.uniform(0.04, 0.12), "joint_tone": rng.uniform(0.6, 0.9), "turn": 0.0,
    }  # fmt: skip
    panels["block_u"] = 0.5 if panels["block_width"] > 1.5 * half[0] else 0.0
    if rng.random() < 0.5:
        return wood(rng, **panels)
    return paint(rng, hsv(rng.random(), rng.uniform(0, 0.4), rng.uniform(0.5, 1)), **panels)


def picture(rng: Rng, half: np.ndarray) -> np.ndarray:
    """Waves of two colours in a frame; half: (2,) metres of the whole."""
    return material(
        any_colour(rng, 0.9), any_colour(rng, 0.9), waves=rng.uniform(0.6, 1.3), noise=rng.uniform(0, 0.8),
        noise_frequency=rng.uniform(3, 15), frequency=rng.uniform(1, 5), block_width=2 * half[0],
        block_height=2 * half[1], joint=rng.uniform(0.03, 0.12), joint_tone=rng.choice([0.2, 1.6]),
        phase=rng.uniform(0, 9),
    )  # fmt: skip


def front(rng: Rng, half: np.ndarray) -> np.ndarray:
    """A cupboard's wood or paint with the gaps of its doors or drawers; half: (2,) metres of the front."""
    gaps = {
        "block_width": 2 * half[0] / rng.integers(1, 4), "block_height": 2 * half[1] / rng.integers(1, 5),
        "joint": rng.uniform(0.012, 0.03), "joint_tone": rng.uniform(0.3, 0.6),
        "block_u": rng.choice([0, 0.5]), "block_v": rng.choice([0, 0.5]),
    }  # fmt: skip
    if rng.random() < 0.55:
        return wood(rng, **gaps)
    return paint(rng, any_colour(rng, 0.5), **gaps)
