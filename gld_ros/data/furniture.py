# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Furniture out of boxes: tables, chairs, shelves, cupboards, beds, sofas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gld_ros.data import materials
from gld_ros.data.materials import Rng


@dataclass(frozen=True)
class Piece:
    """One piece of furniture in its own frame: x along its back, y from the back to the front, z up; metres.

    boxes: (N, 6) centre and half extents; x is centred, y starts at 0. surfaces: (N, 27) their materials.
    """

    boxes: np.ndarray
    surfaces: np.ndarray

    @property
    def extent(self) -> np.ndarray:
        """(2,) width in x and depth in y."""
        low = (self.boxes[:, :2] - self.boxes[:, 3:5]).min(axis=0)
        return (self.boxes[:, :2] + self.boxes[:, 3:5]).max(axis=0) - low


def _span(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> list[float]:
    """A box from its ends in each direction."""
    ends = np.array([x, y, z])
    return [*ends.mean(axis=1), *np.ptp(ends, axis=1) / 2]


def _piece(boxes: list[list[float]], surfaces: list[np.ndarray]) -> Piece:
    return Piece(np.array(boxes), np.array(surfaces))


def _legs(width: float, depth: float, height: float, thick: float) -> list[list[float]]:
    columns = ((-width / 2, thick - width / 2), (width / 2 - thick, width / 2))
    return [_span(x, y, (0, height)) for x in columns for y in ((0, thick), (depth - thick, depth))]


def table(rng: Rng) -> Piece:
    """A top on four legs."""
    width, depth = rng.uniform(0.8, 1.8), rng.uniform(0.5, 0.9)
    height = rng.choice([0.45, 0.74]) * rng.uniform(0.9, 1.1)
    thick = rng.uniform(0.03, 0.06)
    top = materials.wood(rng) if rng.random() < 0.7 else materials.paint(rng, materials.any_colour(rng, 0.4))
    legs = top if rng.random() < 0.6 else materials.paint(rng, materials.hsv(0, 0, rng.uniform(0.1, 0.9)))
    boxes = [_span((-width / 2, width / 2), (0, depth), (height - thick, height))]
    return _piece(boxes + _legs(width, depth, height - thick, rng.uniform(0.04, 0.09)), [top] + 4 * [legs])


def chair(rng: Rng) -> Piece:
    """A seat and a back between two sides."""
    width, seat = rng.uniform(0.4, 0.5), rng.uniform(0.4, 0.48)
    back, thick = rng.uniform(0.8, 1.0), 0.04
    body = materials.wood(rng) if rng.random() < 0.6 else materials.paint(rng, materials.any_colour(rng, 0.6))
    cover = body if rng.random() < 0.4 else materials.fabric(rng)
    half = width / 2
    boxes = [
        _span((-half, half), (0, width), (seat - thick, seat)),
        _span((-half, half), (0, thick), (seat, back)),
        _span((-half, thick - half), (0, width), (0, seat - thick)),
        _span((half - thick, half), (0, width), (0, seat - thick)),
    ]
    return _piece(boxes, [cover, cover, body, body])


def shelf(rng: Rng) -> Piece:
    """Two sides, a back, three boards; books or boxes on one of them."""
    half, depth, height = rng.uniform(0.3, 0.7), rng.uniform(0.22, 0.4), rng.uniform(0.8, 2.0)
    thick = rng.uniform(0.02, 0.04)
    body = materials.wood(rng) if rng.random() < 0.7 else materials.paint(rng, materials.hsv(0, 0, rng.uniform(0.5, 1)))
    sides = ((-half, thick - half), (half - thick, half))
    boxes = [_span(side, (0, depth), (0, height)) for side in sides] + [_span((-half, half), (0, 0.02), (0, height))]
    levels = np.array([0.05, 0.5, 1.0]) * height
    boxes += [_span((-half, half), (0.02, depth), (level - thick, level)) for level in levels]
    books = np.clip(rng.uniform(0.15, 0.3), 0, 0.4 * height)
    reach = rng.uniform(0.4, 1.9) * half
    row = (thick - half, thick - half + reach - 2 * thick)
    boxes += [_span(row, (0.03, 0.8 * depth), (levels[1], levels[1] + books))]
    spines = materials.material(
        materials.any_colour(rng, 0.8), materials.any_colour(rng, 0.8), square=0.8, frequency=rng.uniform(2, 5),
        block_width=rng.uniform(0.03, 0.08), block_tone=0.4, joint=0.004, joint_tone=0.5, phase=rng.uniform(0, 9),
    )  # fmt: skip
    return _piece(boxes, 6 * [body] + [spines])


def cupboard(rng: Rng) -> Piece:
    """A closed box with doors or drawers on a base."""
    half, depth = rng.uniform(0.3, 1.0), rng.uniform(0.35, 0.6)
    height = rng.choice([rng.uniform(0.5, 0.95), rng.uniform(1.4, 2.1)])
    body = materials.front(rng, np.array([half, height / 2]))
    return _piece([_span((-half, half), (0, depth), (0, height))], [body])


def bed(rng: Rng) -> Piece:
    """A mattress on a frame with a headboard and a pillow."""
    half, length, height = rng.uniform(0.45, 0.9), rng.uniform(1.9, 2.1), rng.uniform(0.35, 0.55)
    frame = materials.wood(rng)
    pillow = materials.paint(rng, materials.hsv(rng.random(), rng.uniform(0, 0.2), 0.95))
    boxes = [
        _span((-half, half), (0, length), (0, 0.6 * height)),
        _span((0.02 - half, half - 0.02), (0.05, length - 0.02), (0.6 * height, height)),
        _span((-half, half), (0, 0.05), (0, rng.uniform(0.7, 1.1))),
        _span((0.1 - half, half - 0.1), (0.1, 0.45), (height, height + 0.1)),
    ]
    return _piece(boxes, [frame, materials.fabric(rng), frame, pillow])


def sofa(rng: Rng) -> Piece:
    """A seat, a back and two arms of one fabric."""
    half, depth, seat = rng.uniform(0.5, 1.1), rng.uniform(0.75, 0.95), rng.uniform(0.38, 0.46)
    arm, cover = rng.uniform(0.1, 0.2), materials.fabric(rng)
    boxes = [
        _span((-half, half), (0, depth), (0.05, seat)),
        _span((-half, half), (0, 0.2), (seat, rng.uniform(0.7, 0.95))),
        _span((-half, arm - half), (0.2, depth), (seat, seat + 0.18)),
        _span((half - arm, half), (0.2, depth), (seat, seat + 0.18)),
    ]
    return _piece(boxes, 4 * [cover])


#: The kinds and how often each is drawn.
KINDS = ((table, 0.22), (chair, 0.18), (shelf, 0.2), (cupboard, 0.2), (bed, 0.08), (sofa, 0.12))


def random_piece(rng: Rng) -> Piece:
    kinds, shares = zip(*KINDS, strict=True)
    return kinds[rng.choice(len(kinds), p=shares)](rng)
