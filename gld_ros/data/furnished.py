# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Furnished rooms with photo-like surfaces, some with a partition and a way through into a second part."""

from __future__ import annotations

import numpy as np

from gld_ros.data import materials
from gld_ros.data.floor_plan import BOXES, HIDDEN, Plan, Wall
from gld_ros.data.furniture import Piece, chair, random_piece, table
from gld_ros.data.rooms import LIGHTS, Room


def furnished_room(seed: int) -> Room:
    """The furnished room of a seed; the same seed gives the same room everywhere.

    Floor, walls and ceiling have one material each, furniture stands along the walls, and everything is upright.
    """
    rng = np.random.default_rng([seed, 3])
    size = np.array([rng.uniform(3, 8), rng.uniform(3, 8), rng.uniform(2.4, 3.2)])
    plan = Plan(rng, size)
    wall = materials.wall(rng)
    faces = [*4 * [wall], materials.floor(rng), materials.ceiling(rng)]
    if size[:2].max() > 5 and rng.random() < 0.6:
        _add_partition(plan, wall)
    _add_doors_and_windows(plan)
    _add_pictures(plan)
    _add_rug(plan)
    if rng.random() < 0.4:
        _add_table_group(plan)
    for _ in range(12):
        _add_along_wall(plan, random_piece(rng))
    cylinders, spheres, round_surfaces = _round_things(plan)
    hidden = BOXES - len(plan.boxes)
    surfaces = faces + plan.surfaces + hidden * [wall] + round_surfaces
    return Room(
        {
            "size": size,
            "boxes": np.array(plan.boxes + hidden * [HIDDEN]),
            "spheres": spheres,
            "cylinders": cylinders,
            "surfaces": np.array(surfaces),
            "lights": _lights(plan),
            "ambient": np.array(rng.uniform(0.3, 0.6)),
        },
        passages=np.array(plan.passages).reshape(-1, 4),
    )


def with_photo_columns(room: Room) -> Room:
    """A room of `random_room` with as many boxes and columns as a furnished one, so that both fit into one batch."""
    arrays = dict(room.arrays)
    count = len(arrays["boxes"])
    hidden = BOXES - count
    plain = arrays["surfaces"]
    extra = materials.material(np.ones(3), np.ones(3))[plain.shape[1] :]
    surfaces = np.column_stack([plain, np.repeat(extra[None], len(plain), axis=0)])
    arrays["boxes"] = np.concatenate([arrays["boxes"], np.repeat(HIDDEN[None], hidden, axis=0)])
    filler = np.repeat(surfaces[:1], hidden, axis=0)
    arrays["surfaces"] = np.concatenate([surfaces[: 6 + count], filler, surfaces[6 + count :]])
    return Room(arrays)


def _add_partition(plan: Plan, wall: np.ndarray) -> None:
    """A wall across the longer side with an opening; the room becomes two parts."""
    rng, size = plan.rng, plan.size
    axis = int(size[:2].argmax())
    at, thick = size[axis] * rng.uniform(0.38, 0.62), rng.uniform(0.05, 0.1)
    half, top = rng.uniform(0.45, 0.9), rng.uniform(2.0, 2.2)
    across = size[1 - axis]
    middle = rng.uniform(half + 0.15, across - half - 0.15)
    for low, high, bottom in ((0, middle - half, 0), (middle + half, across, 0), (middle - half, middle + half, top)):
        box = np.zeros(7)
        box[axis], box[3 + axis] = at, thick
        box[1 - axis], box[4 - axis] = (low + high) / 2, (high - low) / 2
        box[2], box[5] = (bottom + size[2]) / 2, (size[2] - bottom) / 2
        plan.add(box, wall)
    passage = np.zeros(4)
    passage[axis], passage[1 - axis], passage[2 + axis] = at, middle, 1
    plan.passages.append(passage)
    before, behind = (0.0, at - thick), (at + thick, size[axis])
    plan.parts = [_area(axis, span, (0.0, across)) for span in (before, behind)]
    _split_walls(plan, axis, at, thick)
    for facing in (-1, 1):
        face = at + facing * thick
        plan.walls.append(Wall(axis, face, facing, 0.0, across, [(middle - half - 0.1, middle + half + 0.1)]))
    way, solid = (at - thick - 0.7, at + thick + 0.7), (at - thick, at + thick)
    plan.footprints += [
        _area(axis, way, (middle - half, middle + half)),
        _area(axis, solid, (0, middle - half)),
        _area(axis, solid, (middle + half, across)),
    ]


def _area(axis: int, along: tuple[float, float], across: tuple[float, float]) -> np.ndarray:
    """(low x, low y, high x, high y) of a place on the floor, from its ends along `axis` and across it."""
    area = np.zeros(4)
    area[axis::2], area[1 - axis :: 2] = along, across
    return area


def _split_walls(plan: Plan, axis: int, at: float, thick: float) -> None:
    """The walls that a partition meets end at it."""
    met = [w for w in plan.walls if w.axis != axis]
    plan.walls = [w for w in plan.walls if w.axis == axis]
    for w in met:
        plan.walls.append(Wall(w.axis, w.at, w.facing, 0.0, at - thick))
        plan.walls.append(Wall(w.axis, w.at, w.facing, at + thick, w.high))


def _outer(plan: Plan) -> list[Wall]:
    return [w for w in plan.walls if w.at in (0.0, plan.size[w.axis])]


def _add_doors_and_windows(plan: Plan) -> None:
    """A door with its frame or two; one to three windows."""
    rng, outer = plan.rng, _outer(plan)
    for _ in range(rng.integers(1, 3)):
        half, top = rng.uniform(0.36, 0.48), rng.uniform(1.95, 2.1)
        wall = outer[rng.integers(len(outer))]
        along = wall.gap(rng, 2 * half + 0.2)
        if along is None:
            continue
        frame = materials.paint(rng, materials.hsv(0.1, rng.uniform(0, 0.5), rng.uniform(0.3, 1)))
        plan.add(wall.box(along, np.array([0, 0, (top + 0.07) / 2, half + 0.07, 0.025, (top + 0.07) / 2])), frame)
        leaf = materials.door(rng, np.array([half, top / 2]))
        plan.add(wall.box(along, np.array([0, 0, top / 2, half, 0.04, top / 2])), leaf)
        ahead = wall.box(along, np.array([0, 0.35, 0, half, 0.35, 0]))
        plan.footprints.append(np.concatenate([ahead[:2] - ahead[3:5], ahead[:2] + ahead[3:5]]))
    sill, glass_height = rng.uniform(0.6, 1.0), rng.uniform(0.4, 0.65)
    glass = np.array([rng.uniform(0.35, 0.9), glass_height])
    pane = materials.window(rng, glass)
    for _ in range(rng.integers(1, 4)):
        wall = outer[rng.integers(len(outer))]
        along = wall.gap(rng, 2 * glass[0])
        if along is not None:
            plan.add(wall.box(along, np.array([0, 0, sill + glass[1], glass[0], 0.03, glass[1]])), pane)


def _add_pictures(plan: Plan) -> None:
    rng = plan.rng
    for _ in range(rng.integers(1, 5)):
        wall = plan.walls[rng.integers(len(plan.walls))]
        half = np.array([rng.uniform(0.15, 0.5), rng.uniform(0.15, 0.45)])
        along = wall.gap(rng, 2 * half[0])
        if along is not None:
            local = np.array([0, 0, rng.uniform(1.4, 1.7), half[0], 0.02, half[1]])
            plan.add(wall.box(along, local), materials.picture(rng, half))


def _add_rug(plan: Plan) -> None:
    """A thin box that lies in a part of the room."""
    rng = plan.rng
    part = plan.parts[rng.integers(len(plan.parts))]
    if rng.random() < 0.5:
        half = (part[2:] - part[:2]) * rng.uniform(0.2, 0.4, 2)
        middle = (part[2:] + part[:2]) / 2 + (part[2:] - part[:2]) * rng.uniform(-0.1, 0.1, 2)
        plan.add(np.array([*middle, 0.0, *half, 0.008, 0.0]), materials.rug(rng, half))


def _add_table_group(plan: Plan) -> None:
    """A table that stands free, turned a little, with chairs at it."""
    rng = plan.rng
    part = plan.parts[rng.integers(len(plan.parts))]
    middle = part[:2] + (part[2:] - part[:2]) * rng.uniform(0.35, 0.65, 2)
    yaw = rng.choice([0, np.pi / 2]) + rng.uniform(-0.25, 0.25)
    top, seat = table(rng), chair(rng)
    if not plan.put(top, _turned(top, middle, yaw, -top.extent[1] / 2)):
        return
    for side in rng.permutation([0, np.pi])[: rng.integers(1, 3)]:
        # A chair's front looks at the table, which it stands at by its own depth and a gap.
        start = -top.extent[1] / 2 - seat.extent[1] - rng.uniform(0.35, 0.5)
        plan.put(seat, _turned(seat, middle, yaw + side, start))


def _turned(piece: Piece, middle: np.ndarray, yaw: float, start: float) -> np.ndarray:
    """The boxes (N, 7) of a piece whose back is at y = start of a frame turned by yaw about the middle."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y = piece.boxes[:, 0], piece.boxes[:, 1] + start
    places = middle + np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
    return np.column_stack([places, piece.boxes[:, 2:], np.full(len(x), yaw)])


def _add_along_wall(plan: Plan, piece: Piece) -> None:
    """Put a piece with its back to a wall, if a free place is found."""
    rng, width = plan.rng, piece.extent[0]
    for _ in range(6):
        wall = plan.walls[rng.integers(len(plan.walls))]
        if wall.high - wall.low < width + 0.02:
            continue
        along = rng.uniform(wall.low + width / 2 + 0.01, wall.high - width / 2 - 0.01)
        boxes = np.array([wall.box(along, b + [0, 0.015, 0, 0, 0, 0]) for b in piece.boxes])
        if plan.put(piece, boxes):
            return


def _round_things(plan: Plan) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Cylinders (3, 5), spheres (2, 4), materials of spheres, then cylinders: a lamp, a plant in a pot, a bin."""
    rng = plan.rng
    lamp, plant, bin_place = (_free_place(plan, radius) for radius in (0.2, 0.3, 0.15))
    pole, pot, bin_half = rng.uniform(0.6, 0.8), rng.uniform(0.12, 0.25), rng.uniform(0.12, 0.25)
    leaves = rng.uniform(0.2, 0.32)
    cylinders = np.array(
        [
            [*lamp, pole, 0.02, pole],
            [*plant, pot, rng.uniform(0.1, 0.18), pot],
            [*bin_place, bin_half, rng.uniform(0.1, 0.15), bin_half],
        ]
    )
    spheres = np.array([[*lamp, 2 * pole, rng.uniform(0.1, 0.18)], [*plant, 2 * pot + 0.8 * leaves, leaves]])
    shade = materials.hsv(rng.uniform(0.05, 0.16), rng.uniform(0, 0.3), 1)
    green = materials.hsv(rng.uniform(0.2, 0.4), rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.6))
    leaf = materials.material(green, 0.3 * green, noise=1.4, noise_frequency=14)
    metal = materials.paint(rng, materials.hsv(0, 0, rng.uniform(0.05, 0.5)))
    vessels = [materials.paint(rng, materials.any_colour(rng, 0.7)) for _ in range(2)]
    return cylinders, spheres, [materials.paint(rng, shade, glow=rng.uniform(0.3, 0.8)), leaf, metal, *vessels]


def _free_place(plan: Plan, radius: float) -> np.ndarray:
    """(2,) where something round can stand, most often near a wall; outside the room if nowhere."""
    rng = plan.rng
    for _ in range(20):
        wall = plan.walls[rng.integers(len(plan.walls))]
        along, off = rng.uniform(wall.low, wall.high), radius + 0.05 + rng.exponential(0.3)
        place = wall.box(along, np.array([0, off, 0, 0, 0, 0]))[:2]
        footprint = np.concatenate([place - radius, place + radius])
        if plan.is_free(footprint):
            plan.footprints.append(footprint)
            return place
    return np.array([-50.0, -50.0])


def _lights(plan: Plan) -> np.ndarray:
    """(L, 4): a light in each part of the room, or two in one; below the ceiling."""
    rng, lights = plan.rng, []
    for k in range(LIGHTS):
        part = plan.parts[k % len(plan.parts)]
        place = part[:2] + (part[2:] - part[:2]) * rng.uniform(0.3, 0.7, 2)
        lights.append([*place, plan.size[2] - 0.15, rng.uniform(0.4, 0.9)])
    return np.array(lights)
