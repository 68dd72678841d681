# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural rooms: textured walls and floors, furniture-like boxes, cylinders, spheres, lights, robot-like cameras."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from gld_ros.data.raytrace import SceneBatch, render
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import rigid

BOXES, SPHERES, CYLINDERS, LIGHTS = 10, 2, 3, 2
TEST_SEED = 1_000_000_000  # rooms from here on are held out: training seeds stay below


@dataclass(frozen=True)
class Room:
    """One room; arrays as in `raytrace.SceneBatch` without the leading S.

    passages: (N, 4) openings in partitions: the middle on the floor (x, y) and the direction through (x, y).
    """

    arrays: dict[str, np.ndarray]
    passages: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))

    @property
    def size(self) -> np.ndarray:
        """(3,) metres; the room spans [0, size], z up."""
        return self.arrays["size"]

    def clearance(self, points: np.ndarray) -> np.ndarray:
        """Distance in metres of points (N, 3) to the nearest wall or bounding box of an object; negative inside."""
        free = np.minimum(points, self.size - points).min(axis=1)
        boxes, spheres, cylinders = (self.arrays[k] for k in ("boxes", "spheres", "cylinders"))
        offset = points[:, None] - boxes[None, :, :3]
        cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
        local = np.stack(
            [cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0], offset[..., 2]],
            -1,
        )
        free = np.minimum(free, (np.abs(local) - boxes[:, 3:6]).max(axis=2).min(axis=1))
        free = np.minimum(free, (np.linalg.norm(points[:, None] - spheres[:, :3], axis=2) - spheres[:, 3]).min(axis=1))
        offset = points[:, None] - cylinders[None, :, :3]
        side = np.linalg.norm(offset[..., :2], axis=2) - cylinders[:, 3]
        cap = np.abs(offset[..., 2]) - cylinders[:, 4]
        return np.minimum(free, np.maximum(side, cap).min(axis=1))

    def free_before(self, c2w: np.ndarray) -> np.ndarray:
        """Metres of room (N,) before the lenses of cameras (N, 4, 4), or half of that around them if less; negative
        inside something."""
        places, ahead = c2w[:, :3, 3], c2w[:, :3, 2]
        free = self.clearance(np.concatenate([places, places + 0.4 * ahead, places + 0.8 * ahead])).reshape(3, -1)
        return np.minimum(0.5 * free[0], free.min(axis=0))

    def render(self, cameras: list[Camera]) -> tuple[np.ndarray, np.ndarray]:
        """Images (V, H, W, 3) uint8 RGB and z-depths (V, H, W) float32 in metres, of cameras of one size."""
        K = torch.tensor(np.stack([c.K for c in cameras]), dtype=torch.float32)[None]
        c2w = torch.tensor(np.stack([c.c2w for c in cameras]), dtype=torch.float32)[None]
        images, depth = render(stack_rooms([self]), K, c2w, cameras[0].height, cameras[0].width, chunk=2048)
        return (images[0].permute(0, 2, 3, 1) * 255).round().byte().numpy(), depth[0].numpy()

    def trajectory(
        self, count: int, seed: int = 0, step: float = 0.06, start: tuple[np.ndarray, float] | None = None
    ) -> list[np.ndarray]:
        """`count` (4, 4) c2w poses of a camera on a robot that drives around without hitting anything.

        step: metres between consecutive poses. start: (2,) where on the floor, and the heading in radians; None: the
        freest of a few places.
        """
        rng = np.random.default_rng([seed, 77])
        height = rng.uniform(0.5, 1.2)
        pitch = rng.uniform(-0.2, 0.0)
        position, heading = start or self._free_start(rng, height)
        poses, turn = [], 0.0
        for _ in range(count):
            poses.append(camera_pose(np.array([*position, height]), heading, pitch))
            # Steer towards the freest of a fan of directions; a random wish keeps the drive from circling.
            fan = np.linspace(-0.35, 0.35, 15)
            ahead = position + step * 8 * np.stack([np.cos(heading + 4 * fan), np.sin(heading + 4 * fan)], 1)
            free = np.minimum(self.clearance(np.column_stack([ahead, np.full(15, height)])), 0.6)
            wish = free - 0.3 * np.abs(fan - turn) + 0.02 * rng.standard_normal(15)
            turn = 0.6 * turn + 0.4 * fan[wish.argmax()]
            heading += float(np.clip(turn, -0.12, 0.12))
            ahead = position + step * np.array([math.cos(heading), math.sin(heading)])
            if self.clearance(np.array([[*ahead, height]]))[0] > 0.2:
                position = ahead
        return poses

    def _free_start(self, rng: np.random.Generator, height: float) -> tuple[np.ndarray, float]:
        """The freest of a few places, looking along its longest free way."""
        places = rng.uniform(0.2, 0.8, (64, 2)) * self.size[:2]
        free = self.clearance(np.column_stack([places, np.full(64, height)]))
        place = places[free.argmax()]
        return place, float(math.atan2(*(self.size[1::-1] / 2 - place[::-1])) + rng.uniform(-0.5, 0.5))


def camera_pose(position: np.ndarray, yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """(4, 4) c2w, OpenCV axes, of a camera at (3,) metres; yaw about world z, pitch up positive, radians."""
    forward = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)])
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    down = np.cross(forward, right)
    cos, sin = math.cos(roll), math.sin(roll)
    return rigid(np.stack([cos * right + sin * down, cos * down - sin * right, forward], axis=1), position)


def random_room(seed: int) -> Room:
    """The room of a seed; the same seed gives the same room everywhere."""
    rng = np.random.default_rng([seed, 1])
    size = np.array([rng.uniform(3, 9), rng.uniform(3, 9), rng.uniform(2.4, 3.6)])
    boxes = np.array([_furniture(rng, size) if k < BOXES - 3 else _poster(rng, size) for k in range(BOXES)])
    radius = rng.uniform(0.1, 0.4, SPHERES)
    spheres = np.column_stack([rng.uniform(0.1, 0.9, (SPHERES, 2)) * size[:2], radius, radius])
    spheres[:, 2] += np.where(rng.random(SPHERES) < 0.3, rng.uniform(0.3, 1.2, SPHERES), 0)
    half = rng.uniform(0.15, 0.9, CYLINDERS)
    cylinders = np.column_stack(
        [rng.uniform(0.08, 0.92, (CYLINDERS, 2)) * size[:2], half, rng.uniform(0.05, 0.35, CYLINDERS), half]
    )
    places, power = rng.uniform(0.2, 0.8, (LIGHTS, 2)) * size[:2], rng.uniform(0.4, 1.0, LIGHTS)
    lights = np.column_stack([places, np.full(LIGHTS, size[2] - 0.15), power])
    count = 6 + BOXES + SPHERES + CYLINDERS
    return Room(
        {
            "size": size,
            "boxes": boxes,
            "spheres": spheres,
            "cylinders": cylinders,
            "surfaces": np.array([_material(rng) for _ in range(count)]),
            "lights": lights,
            "ambient": np.array(rng.uniform(0.25, 0.6)),
        }
    )


def stack_rooms(rooms: list[Room]) -> SceneBatch:
    """Rooms as one batch for the ray tracer."""
    return SceneBatch(
        **{k: torch.tensor(np.stack([r.arrays[k] for r in rooms]), dtype=torch.float32) for k in rooms[0].arrays}
    )


def _furniture(rng: np.random.Generator, size: np.ndarray) -> np.ndarray:
    """A box on the floor (cupboard, table-like slab, crate), most often along a wall."""
    half = np.array([rng.uniform(0.15, 0.7), rng.uniform(0.15, 0.5), rng.uniform(0.15, 1.0)])
    place = rng.uniform(0.12, 0.88, 2) * size[:2]
    yaw = rng.choice([0.0, math.pi / 2])
    if rng.random() < 0.5:  # against a wall
        axis, end = rng.integers(2), rng.integers(2)
        reach = half[0] if (axis == 0) == (yaw == 0) else half[1]
        place[axis] = reach if end == 0 else size[axis] - reach
    else:
        yaw += rng.uniform(-0.8, 0.8)
    base = rng.uniform(0.4, 0.9) if rng.random() < 0.2 else 0.0
    if base:
        half[2] = rng.uniform(0.02, 0.1)
    return np.array([*place, base + half[2], *half, yaw])


def _poster(rng: np.random.Generator, size: np.ndarray) -> np.ndarray:
    """A thin box on a wall: picture, door, window."""
    axis, end = rng.integers(2), rng.integers(2)
    width, height = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.7)
    centre = np.array([*(rng.uniform(0.15, 0.85, 2) * size[:2]), rng.uniform(0.9, 1.8)])
    centre[axis] = 0.01 if end == 0 else size[axis] - 0.01
    half = np.array([0.03, width, height]) if axis == 0 else np.array([width, 0.03, height])
    return np.array([*centre, *half, 0.0])


def _material(rng: np.random.Generator) -> np.ndarray:
    base = np.clip(rng.uniform(0.25, 0.95) + rng.normal(0, 0.18, 3), 0.03, 1)
    other = np.clip(base * rng.uniform(0.35, 0.9) + rng.normal(0, 0.12, 3), 0.02, 1)
    kind = rng.random()
    square = rng.uniform(0.5, 1) if kind < 0.3 else 0.0
    stripe = rng.uniform(0.5, 1) if 0.3 <= kind < 0.5 else 0.0
    waves = rng.uniform(0.3, 1.0)
    frequency, turn, phase = math.exp(rng.uniform(-0.3, 1.6)), rng.choice([0, rng.uniform(0, 3)]), rng.uniform(0, 9)
    return np.array([*base, *other, square, stripe, waves, frequency, turn, phase])
