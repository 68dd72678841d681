# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Held-out procedural rooms: targets between and beyond the sources, and furnished rooms whose targets look away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count as numbers_from
from itertools import islice

import numpy as np

from gld_ros.data.clips import Clip
from gld_ros.data.look_away import UNSEEN, render_look_away, unseen
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


SIZE = (192, 144)  # (W, H) of the cameras
SOURCES, TARGETS = 2, 3  # views given, and views asked for in one request
RENDERED = 4  # targets of a room, as one may lie near the sources


@dataclass(frozen=True)
class AwayScene:
    """One request and its answer. unobserved: (T, H, W) bool, target pixels that no source saw by the true depth."""

    scene: Scene
    unobserved: np.ndarray


def away_scene(seed: int) -> AwayScene | None:
    """The scene of a seed, in metres; None where fewer than TARGETS of its views look away."""
    views = render_look_away([seed], SOURCES, RENDERED, *SIZE, kind="furnished")
    unobserved = np.asarray(unseen(views, SOURCES))[0]
    share = unobserved.mean(axis=(1, 2))
    away = np.flatnonzero((share >= UNSEEN[0]) & (share <= UNSEEN[1]))[:TARGETS]
    if len(away) < TARGETS:
        return None
    clip = Clip(views.images[0], views.K[0], views.c2w[0], views.depth[0], f"away_{seed}")
    choice = Choice(list(range(SOURCES)), [SOURCES + int(k) for k in away])
    return AwayScene(scene_of_clip(clip, choice, "away", "m"), unobserved[away])


def away_scenes(split: str, count: int) -> Iterator[AwayScene]:
    """The first `count` scenes of a split of the rooms, one of SPLITS."""
    return islice(filter(None, map(away_scene, numbers_from(SPLITS[split]))), count)
