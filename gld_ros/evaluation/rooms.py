# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Held-out procedural rooms: two sources, one target, half between the sources, half beyond one of them."""

from __future__ import annotations

from collections.abc import Iterator

from gld_ros.data.clips import Clip
from gld_ros.data.room_views import render_scenes
from gld_ros.data.rooms import TEST_SEED
from gld_ros.evaluation.scenes import Choice, Scene, scene_of_clip

#: First seed of each split; training stays below TEST_SEED. Choices are made on "val", figures reported on "test".
SPLITS = {"test": TEST_SEED, "val": TEST_SEED + 1_000_000}


def held_out_scene(seed: int, interpolation: bool) -> Scene:
    """The scene of a seed; the target lies between the sources or beyond one of them."""
    views = render_scenes([seed])
    clip = Clip(views.images[0], views.K[0], views.c2w[0], views.depth[0], f"room_{seed}")
    group = "interpolation" if interpolation else "extrapolation"
    return scene_of_clip(clip, Choice([0, 1], [2 if interpolation else 3]), group, "m")


def room_scenes(split: str, count: int) -> Iterator[Scene]:
    """The first `count` scenes of a split, interpolation and extrapolation in turn."""
    for k in range(count):
        yield held_out_scene(SPLITS[split] + k, interpolation=k % 2 == 0)
