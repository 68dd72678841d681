# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes of source views and left-out targets, of clips and of held-out rooms, and the pixels that the sources show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count as numbers_from
from itertools import islice, pairwise

import cv2
import numpy as np
import torch

from gld_ros.data.clips import Clip
from gld_ros.data.furnished import furnished_room
from gld_ros.data.look_away import UNSEEN, look_away_cameras, render_look_away, unseen
from gld_ros.data.raytrace import render
from gld_ros.data.room_views import RoomViews, render_scenes
from gld_ros.data.rooms import TEST_SEED, stack_rooms
from gld_ros.data.scenes import Scenes, Skipped
from gld_ros.data.splits import Entry
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import project, unproject
from gld_ros.geometry.se3 import interpolate_pose, rotation_angle
from gld_ros.views import SourceView


@dataclass(frozen=True)
class Scene:
    """One request with its answer.

    sources: what the model is given, without depth but for `with_source_depth`. source_depths: true depth (H, W) of
    each, None where there is none. targets: the real views, depth where known. names: of the targets, for files. group:
    what its figures are grouped by in the report. unit: of poses and depth, for people.
    """

    name: str
    group: str
    sources: list[SourceView]
    source_depths: list[np.ndarray] | None
    targets: list[SourceView]
    names: list[str]
    unit: str = "units"

    @property
    def cameras(self) -> list[Camera]:
        """Cameras of the targets."""
        return [target.camera for target in self.targets]


@dataclass(frozen=True)
class Choice:
    """Indices of the views of a clip that are given and of those asked for."""

    sources: list[int]
    targets: list[int]


def choose(views: int, sources: int) -> Choice:
    """`sources` of `views` views evenly from the first to the last; the others are targets (the published protocol:
    first and last of 8). One source: the first. All of them: all are targets, too. Raises InvalidRequest for others.
    """
    if not 1 <= sources <= views:
        raise InvalidRequest(f"{sources} sources of {views} views: 1 to {views} are possible")
    if sources == views:
        return Choice(list(range(views)), list(range(views)))
    given = sorted({int(i) for i in np.linspace(0, views - 1, sources).round()}) if sources > 1 else [0]
    return Choice(given, [i for i in range(views) if i not in given])


def windows(count: int, views: int, gap: int) -> list[list[int]]:
    """Indices of the clips of a sequence of `count` frames: `views` frames each, `gap` apart, no frame in two clips.

    A shorter sequence is one clip of the fewer views that it has at this gap.
    """
    step = views * gap
    starts = [block + offset for block in range(0, count, step) for offset in range(gap)]
    found = [list(range(s, s + step, gap)) for s in starts if s + step - gap < count]
    return found or [list(range(0, count, gap))]


def spread(clips: list[list[int]], count: int | None) -> list[list[int]]:
    """`count` of the clips from first to last, or all of them."""
    if count is None or len(clips) <= count:
        return clips
    return [clips[int(k)] for k in np.linspace(0, len(clips) - 1, count).round()]


def scenes_of(
    data: Scenes,
    group: str,
    sources: int,
    views: int = 8,
    gap: int = 1,
    split: Sequence[Entry] | None = None,
    size: tuple[int, int] | None = None,
    skipped: Skipped | None = None,
    clips: int | None = None,
) -> Iterator[Scene]:
    """The scenes of a data set: the clips that `split` lists, else `windows`, `sources` of their views given.

    size: (width, height) the views are cropped and resized to; None: as they are. clips: at most so many windows of a
    scene, spread evenly; None: all. Bad scenes are noted in `skipped`.
    """
    skipped = skipped if skipped is not None else Skipped()
    for entry in split if split is not None else map(Entry, data.names):
        try:
            index = data.find(entry.scene)
            if index is None:
                raise InvalidRequest(f"{entry.scene}: not in {data.where}")
            found = [[*entry.context, *entry.target]]
            if not entry.context:
                found = spread(windows(len(data.frames(index)), views, gap), clips)
            for frames in found:
                n = len(entry.context)
                choice = Choice(list(range(n)), list(range(n, len(frames)))) if n else choose(len(frames), sources)
                clip = data.load(index, frames, size).check()
                if len(found) > 1:
                    clip.name = f"{clip.name}_{frames[0]:03d}"
                yield scene_of_clip(clip, choice, group, names=[f"{frame:03d}" for frame in frames])
        except InvalidRequest as error:
            skipped.add(entry.scene, str(error))


def scene_of_clip(
    clip: Clip, choice: Choice, group: str, unit: str = "units", names: Sequence[str] | None = None
) -> Scene:
    """The scene of a clip's views. names: of all its views; their numbers where not given."""
    names = names or [f"{index:03d}" for index in range(len(clip))]
    views = []
    for k, (image, K, c2w) in enumerate(zip(clip.images, clip.K, clip.c2w, strict=True)):
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        camera = Camera(K.numpy(), rigid(c2w.numpy()), clip.size[0], clip.size[1])
        views.append(SourceView(pixels, camera, mask=None if clip.mask is None else clip.mask[k].numpy()))
    depths = None if clip.depth is None or not torch.isfinite(clip.depth).any() else clip.depth.numpy()
    return Scene(
        name=clip.name,
        group=group,
        sources=[views[i] for i in choice.sources],
        source_depths=None if depths is None else [depths[i] for i in choice.sources],
        targets=[replace(views[i], depth=None if depths is None else depths[i]) for i in choice.targets],
        names=[names[i] for i in choice.targets],
        unit=unit,
    )


def with_source_depth(scene: Scene) -> Scene:
    """The scene whose sources have their depth, as from a depth sensor. Raises InvalidRequest where there is none."""
    if scene.source_depths is None:
        raise InvalidRequest(f"{scene.name}: its data have no depth to give to the sources; leave --source-depth out")
    pairs = zip(scene.sources, scene.source_depths, strict=True)
    return replace(scene, sources=[replace(source, depth=depth) for source, depth in pairs])


def rigid(c2w: np.ndarray) -> np.ndarray:
    """c2w (4, 4) in float64 with float32 rounding taken out of its rotation."""
    pose = c2w.astype(np.float64)
    u, _, vt = np.linalg.svd(pose[:3, :3])
    pose[:3, :3] = u @ vt
    return pose


def unobserved_by_depth(scene: Scene, target: SourceView, seen: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of `target` that no source shows, given those that its sources' true depth fills (`seen`).

    With holes in the sources' depth, what is not `seen` may have been visible all the same: then a pixel counts only
    where its own true depth says that every source has it hidden or out of the picture. Others are in neither region.
    """
    assert scene.source_depths is not None
    if all(np.isfinite(depth).all() for depth in scene.source_depths) or target.depth is None:
        return ~seen
    points = unproject(target.depth, target.camera)
    possible = np.zeros(seen.shape, bool)
    for source, depth in zip(scene.sources, scene.source_depths, strict=True):
        pixels, z = project(points, source.camera)
        size = np.array([source.camera.width, source.camera.height])
        with np.errstate(invalid="ignore"):
            inside = (z > 0) & (pixels >= 0).all(axis=-1) & (pixels < size).all(axis=-1)
        u, v = np.where(inside[..., None], pixels, 0).astype(int).reshape(-1, 2).T
        # The farthest of the pixels around: at the edge of what hides a surface, it may still be seen.
        farthest = cv2.dilate(np.where(np.isfinite(depth), depth, np.inf).astype(np.float32), np.ones((3, 3)))
        there = farthest[v, u].reshape(seen.shape)
        possible |= inside & ~(there < 0.95 * z)  # unknown, or this surface
    return ~seen & np.isfinite(target.depth) & ~possible


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


AWAY_SIZE = (192, 144)  # (W, H) of the cameras
AWAY_SOURCES, AWAY_TARGETS = 2, 3  # views given, and views asked for in one request
AWAY_RENDERED = 4  # targets of a room, as one may lie near the sources


@dataclass(frozen=True)
class AwayScene:
    """One request and its answer. unobserved: (T, H, W) bool, target pixels that no source saw by the true depth."""

    scene: Scene
    unobserved: np.ndarray


def away_scene(seed: int) -> AwayScene | None:
    """The scene of a seed, in metres; None where fewer than AWAY_TARGETS of its views look away."""
    views = render_look_away([seed], AWAY_SOURCES, AWAY_RENDERED, *AWAY_SIZE, kind="furnished")
    unobserved = np.asarray(unseen(views, AWAY_SOURCES))[0]
    share = unobserved.mean(axis=(1, 2))
    away = np.flatnonzero((share >= UNSEEN[0]) & (share <= UNSEEN[1]))[:AWAY_TARGETS]
    if len(away) < AWAY_TARGETS:
        return None
    clip = Clip(views.images[0], views.K[0], views.c2w[0], views.depth[0], f"away_{seed}")
    choice = Choice(list(range(AWAY_SOURCES)), [AWAY_SOURCES + int(k) for k in away])
    return AwayScene(scene_of_clip(clip, choice, "away", "m"), unobserved[away])


def away_scenes(split: str, count: int) -> Iterator[AwayScene]:
    """The first `count` scenes of a split of the rooms, one of SPLITS."""
    return islice(filter(None, map(away_scene, numbers_from(SPLITS[split]))), count)


PATH_UNSEEN = 0.25  # least mean share of a path's pixels that no source saw


def path_scene(seed: int, count: int) -> AwayScene | None:
    """`count` targets along a path from the first source by all views of `away_scene`, each the nearest next.

    None where something stands in the way, or where too little of what the path shows is new.
    """
    room = furnished_room(seed)
    K, stops = look_away_cameras(room, np.random.default_rng([seed, 4]), AWAY_SOURCES, AWAY_RENDERED, *AWAY_SIZE)
    path, left = [stops[0]], list(stops[AWAY_SOURCES:])
    while left:
        path.append(left.pop(int(np.argmin([_way(path[-1], stop) for stop in left]))))
    along = np.cumsum([0, *(_way(a, b) for a, b in pairwise(path))])
    poses = []
    for length in np.linspace(0, along[-1], count + 1)[1:]:
        leg = min(int(np.searchsorted(along, length, "right")), len(path) - 1) - 1
        share = (length - along[leg]) / (along[leg + 1] - along[leg])
        poses.append(interpolate_pose(path[leg], path[leg + 1], share))
    if room.free_before(np.stack(poses)).min() < 0.05:
        return None
    all_K, c2w = (
        torch.tensor(x).float()[None]
        for x in (np.repeat(K[:1], AWAY_SOURCES + count, axis=0), np.stack([*stops[:AWAY_SOURCES], *poses]))
    )
    views = RoomViews(*render(stack_rooms([room]), all_K, c2w, AWAY_SIZE[1], AWAY_SIZE[0]), all_K, c2w)
    unobserved = np.asarray(unseen(views, AWAY_SOURCES))[0]
    if unobserved.mean() < PATH_UNSEEN:
        return None
    clip = Clip(views.images[0], views.K[0], views.c2w[0], views.depth[0], f"path_{seed}")
    choice = Choice(list(range(AWAY_SOURCES)), list(range(AWAY_SOURCES, AWAY_SOURCES + count)))
    return AwayScene(scene_of_clip(clip, choice, "path", "m"), unobserved)


def path_scenes(split: str, rooms: int, count: int) -> Iterator[AwayScene]:
    """Paths of `count` targets through the first `rooms` rooms of a split that have one."""
    return islice(filter(None, (path_scene(seed, count) for seed in numbers_from(SPLITS[split]))), rooms)


def _way(start: np.ndarray, end: np.ndarray) -> float:
    """Length of the way between two poses (4, 4): metres plus radians."""
    return float(np.linalg.norm(start[:3, 3] - end[:3, 3])) + rotation_angle(start, end)
