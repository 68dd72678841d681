# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Clips of procedural rooms along a smooth path, for models of video."""

from __future__ import annotations

import numpy as np
import torch

from gld_ros.data.clips import ClipBatch
from gld_ros.data.raytrace import render
from gld_ros.data.room_views import sample_cameras
from gld_ros.data.rooms import TEST_SEED, random_room, stack_rooms
from gld_ros.geometry.se3 import interpolate_pose


def render_clips(seeds: list[int], frames: int, width: int, height: int, renderer=render) -> ClipBatch:
    """A clip of F frames in the room of each seed, straight from the first source of `room_views` to the second."""
    rooms = [random_room(seed) for seed in seeds]
    K, c2w = [], []
    for room, seed in zip(rooms, seeds, strict=True):
        focal, poses = sample_cameras(room, np.random.default_rng([seed, 2]), width, height)
        K.append(np.repeat(focal[:1], frames, 0))
        c2w.append(np.stack([interpolate_pose(poses[0], poses[1], share) for share in np.linspace(0, 1, frames)]))
    cameras = torch.tensor(np.stack(K)).float(), torch.tensor(np.stack(c2w)).float()
    images, depth = renderer(stack_rooms(rooms), *cameras, height, width, True)
    return ClipBatch(images, *cameras, depth, [f"room-{seed}" for seed in seeds])


class RoomClips:
    """Batch n holds the rooms first + n * scenes ... . size: (width, height)."""

    def __init__(self, scenes: int, frames: int, size: tuple[int, int], first: int = 0):
        self.scenes, self.frames, self.size, self.first = scenes, frames, size, first

    def __call__(self, number: int) -> ClipBatch:
        seeds = [(self.first + number * self.scenes + i) % TEST_SEED for i in range(self.scenes)]
        return render_clips(seeds, self.frames, *self.size)
