# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Posed views of procedural rooms: two sources and two targets a scene, for training and for `gld eval`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gld_ros.data.raytrace import render
from gld_ros.data.rooms import Room, camera_pose, random_room, stack_rooms
from gld_ros.geometry.cameras import intrinsics

#: Image sizes (width, height) of about 108 patches of 8 pixels: 4:3, square, portrait, wide.
BUCKETS = ((96, 72), (80, 80), (72, 96), (144, 48))


@dataclass
class RoomViews:
    """S scenes x 4 views: source, source, target between them, target beyond one of them.

    images: (S, 4, 3, H, W) 0..1. depth: (S, 4, H, W) metres. K: (S, 4, 3, 3) pixels. c2w: (S, 4, 4, 4).
    """

    images: Tensor
    depth: Tensor
    K: Tensor
    c2w: Tensor


def render_scenes(
    seeds: list[int], width: int = 96, height: int = 72, renderer=render, shadows: bool = True
) -> RoomViews:
    """The scenes of some seeds; the same seed and size give the same scene everywhere."""
    rooms = [random_room(seed) for seed in seeds]
    cameras = [
        sample_cameras(room, np.random.default_rng([seed, 2]), width, height)
        for room, seed in zip(rooms, seeds, strict=True)
    ]
    K, c2w = (torch.tensor(np.stack(numbers)).float() for numbers in zip(*cameras, strict=True))
    images, depth = renderer(stack_rooms(rooms), K, c2w, height, width, shadows)
    return RoomViews(images, depth, K, c2w)


def sample_cameras(room: Room, rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """K (4, 3, 3) and c2w (4, 4, 4) of two sources, a target between and a target beyond, as a robot may carry them."""
    diagonal_fov = math.radians(rng.uniform(65, 105))
    focal = math.hypot(width, height) / 2 / math.tan(diagonal_fov / 2)
    centre = np.array([width, height]) / 2 * (1 + 0.04 * rng.standard_normal(2))
    K = intrinsics(focal, focal, *centre)
    best, poses = -math.inf, np.empty(0)
    for attempt in range(200):
        proposed = _propose(room, rng, shrink=0.985**attempt)
        # Never inside anything; if it can be, with some room before the lens.
        free = room.free_before(proposed).min()
        if free > best:
            best, poses = free, proposed
        if best > max(0.15 - 0.001 * attempt, 0.02):
            break
    return np.repeat(K[None], 4, 0), poses


def _propose(room: Room, rng: np.random.Generator, shrink: float) -> np.ndarray:
    first = np.array([*(rng.uniform(0.08, 0.92, 2) * room.size[:2]), rng.uniform(0.35, 1.7)])
    baseline = shrink * math.exp(rng.uniform(math.log(0.1), math.log(0.7)))
    heading, climb = rng.uniform(0, 2 * math.pi), 0.25 * rng.standard_normal()
    step = np.array([math.cos(heading), math.sin(heading), climb])
    step *= baseline / np.linalg.norm(step)
    # Rather into the room than at the next wall.
    inwards = math.atan2(room.size[1] / 2 - first[1], room.size[0] / 2 - first[0])
    yaw, pitch = inwards + rng.normal(0, 0.9), rng.normal(-0.1, 0.15)
    turn = np.array([0.15, 0.06]) * rng.standard_normal(2)
    beyond = rng.uniform(1.3, 1.9)
    places = [0.0, 1.0, rng.uniform(0.3, 0.7), beyond if rng.random() < 0.5 else 1 - beyond]
    poses = []
    for k, place in enumerate(places):
        wobble = 0 if k < 2 else 0.12
        position = first + place * step + wobble * baseline * rng.standard_normal(3)
        angles = np.array([yaw, pitch]) + place * turn + wobble * 0.3 * rng.standard_normal(2)
        poses.append(camera_pose(position, angles[0], angles[1], 0.03 * rng.standard_normal()))
    return np.stack(poses)
