# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Views of rooms in which most targets look where no source did: turned away, stepped aside, through an opening."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gld_ros.data.furnished import furnished_room, with_photo_columns
from gld_ros.data.raytrace import SceneBatch, first_hit, render
from gld_ros.data.room_views import RoomViews
from gld_ros.data.rooms import Room, camera_pose, random_room, stack_rooms
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import intrinsics
from gld_ros.geometry.rays import directions

KINDS = ("furnished", "plain", "mixed")
#: Share of a looking-away target's pixels that no source saw.
UNSEEN = (0.25, 0.8)
#: A target's point was seen where a source's depth agrees with it so well.
TOLERANCE = 0.03
PROPOSALS = 8
#: Width and height of the grid of rays that proposals are judged by.
GRID = (8, 6)


@dataclass(frozen=True)
class Pose:
    """A camera's place (3,) in metres and its direction in radians, pitch up positive."""

    place: np.ndarray
    yaw: float
    pitch: float
    roll: float

    def moved(self, step: np.ndarray, yaw: float = 0.0, pitch: float = 0.0) -> Pose:
        """Moved by (3,) metres in the world and turned."""
        return Pose(self.place + step, self.yaw + yaw, self.pitch + pitch, self.roll)

    def towards(self, angle: float, length: float) -> np.ndarray:
        """(3,) a level step in the direction `angle` left of where it looks."""
        return length * np.array([math.cos(self.yaw + angle), math.sin(self.yaw + angle), 0.0])

    @cached_property
    def c2w(self) -> np.ndarray:
        return camera_pose(self.place, self.yaw, self.pitch, self.roll)


def render_look_away(
    seeds: list[int], sources: int = 2, targets: int = 4, width: int = 96, height: int = 72, renderer=render,
    kind: str = "mixed",
) -> RoomViews:  # fmt: skip
    """The scenes of some seeds: images (S, V, 3, H, W), depth, K and c2w of the sources, then of the targets.

    A seed gives the same scene and cameras at every size of one shape. About a fifth of the targets lies near the
    sources; of the others 25 to 80 % of the pixels are seen by no source, as far as a room allows.
    renderer: `render` or what `compiled_render` gives. kind: "furnished", "plain" (of `random_room`), or "mixed", of
    which one room in five is plain. Raises InvalidRequest for numbers of views or a kind that there is none of.
    """
    if not 1 <= sources <= 8 or not 1 <= targets <= 8:
        raise InvalidRequest(f"1 to 8 sources and targets, not {sources} and {targets}")
    if kind not in KINDS:
        raise InvalidRequest(f"no kind of rooms {kind!r}; there are {', '.join(KINDS)}")
    rooms = [_room(seed, kind) for seed in seeds]
    cameras = [
        look_away_cameras(room, np.random.default_rng([seed, 4]), sources, targets, width, height)
        for room, seed in zip(rooms, seeds, strict=True)
    ]
    K, c2w = (torch.tensor(np.stack(numbers)).float() for numbers in zip(*cameras, strict=True))
    images, depth = renderer(stack_rooms(rooms), K, c2w, height, width)
    return RoomViews(images, depth, K, c2w)


def _room(seed: int, kind: str) -> Room:
    if kind == "plain":
        return random_room(seed)
    if kind == "mixed" and np.random.default_rng([seed, 5]).random() < 0.2:
        return with_photo_columns(random_room(seed))
    return furnished_room(seed)


def look_away_cameras(
    room: Room, rng: np.random.Generator, sources: int, targets: int, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """K (V, 3, 3) pixels and c2w (V, 4, 4) of the sources, then of the targets, of one camera."""
    diagonal_fov = math.radians(rng.uniform(65, 105))
    shift = 0.02 * rng.standard_normal(2)
    K = _intrinsics(diagonal_fov, shift, width, height)
    sight = _Sight(room, _intrinsics(diagonal_fov, shift, *GRID), _sources(room, rng, sources))
    near = min(int(targets / 5 + rng.random()), targets - 1)
    chosen = [_near(room, rng, sight.sources) for _ in range(near)] + _away(sight, rng, targets - near)
    poses = [*sight.sources, *(chosen[k] for k in rng.permutation(targets))]
    return np.repeat(K[None], len(poses), axis=0), np.stack([pose.c2w for pose in poses])


def _intrinsics(diagonal_fov: float, shift: np.ndarray, width: int, height: int) -> np.ndarray:
    focal = math.hypot(width, height) / 2 / math.tan(diagonal_fov / 2)
    centre = np.array([width, height]) * (0.5 + shift)
    return intrinsics(focal, focal, *centre)


def _free(room: Room, poses: list[Pose]) -> np.ndarray:
    return room.free_before(np.stack([pose.c2w for pose in poses]))


def _sources(room: Room, rng: np.random.Generator, count: int) -> list[Pose]:
    """Poses of one robot that look roughly the same way, at a passage as often as not where there is one."""
    best, poses = -math.inf, []
    for attempt in range(100):
        proposed = _propose_sources(room, rng, count, shrink=0.98**attempt)
        free = _free(room, proposed).min()
        if free > best:
            best, poses = free, proposed
        if best > max(0.12 - 0.001 * attempt, 0.02):
            break
    return poses


def _propose_sources(room: Room, rng: np.random.Generator, count: int, shrink: float) -> list[Pose]:
    place = np.array([*(rng.uniform(0.08, 0.92, 2) * room.size[:2]), rng.uniform(0.3, 1.7)])
    # Rather into the room than at the next wall.
    yaw = math.atan2(*(room.size[1::-1] / 2 - place[1::-1])) + rng.normal(0, 0.9)
    if len(room.passages) and rng.random() < 0.5:
        middle, through = room.passages[0, :2], room.passages[0, 2:] * rng.choice([-1, 1])
        across = np.array([-through[1], through[0]])
        place[:2] = middle - rng.uniform(0.6, 2.5) * through + rng.normal(0, 0.6) * across
        yaw = math.atan2(*(middle - place[:2])[::-1]) + rng.normal(0, 0.4)
    wide = rng.random() < 0.25
    baseline = shrink * (rng.uniform(0.5, 1.0) if wide else math.exp(rng.uniform(math.log(0.12), math.log(0.5))))
    heading = rng.uniform(0, 2 * math.pi)
    step = np.array([math.cos(heading), math.sin(heading), 0.25 * rng.standard_normal()])
    step *= baseline / np.linalg.norm(step)
    turn = math.radians(rng.uniform(-30, 30)) if wide else 0.15 * rng.standard_normal()
    first = Pose(place, yaw, rng.normal(-0.1, 0.15), 0.03 * rng.standard_normal())
    shares = [0.0, 1.0, *rng.uniform(-1, 2, 8)][:count]
    wobble = 0.12 * baseline * rng.standard_normal((count, 3)) * (np.arange(count) > 1)[:, None]
    nod = 0.06 * rng.standard_normal()
    return [
        first.moved(share * step + off, share * turn, share * nod) for share, off in zip(shares, wobble, strict=True)
    ]


def _near(room: Room, rng: np.random.Generator, sources: list[Pose]) -> Pose:
    """Between the first and the last source, or just beyond one of them."""
    first, last = sources[0], sources[-1]
    step, turn = last.place - first.place, np.array([last.yaw - first.yaw, last.pitch - first.pitch])
    proposed = []
    for _ in range(PROPOSALS):
        beyond = rng.uniform(1.2, 1.6)
        share = rng.choice([rng.uniform(0.3, 0.7), beyond, 1 - beyond])
        off = share * step + 0.04 * rng.standard_normal(3)
        proposed.append(first.moved(off, *(share * turn + 0.04 * rng.standard_normal(2))))
    free = _free(room, proposed)
    return proposed[int((free > 0.08).argmax() if (free > 0.08).any() else free.argmax())]


def _look_away(room: Room, rng: np.random.Generator, source: Pose, side: int) -> Pose:
    """Turned by 10 to 70 degrees, or .3 to 1.2 m to a side or forward, or both, or through a passage."""
    turn, angle = side * math.radians(rng.uniform(10, 70)), side * rng.uniform(0, math.pi / 2)
    nod, length = 0.06 * rng.standard_normal(), rng.uniform(0.3, 1.2)
    kind = rng.random()
    if len(room.passages) and kind < 0.4:
        middle, direction = room.passages[0, :2], room.passages[0, 2:]
        away = math.copysign(1, direction @ (middle - source.place[:2]))
        if np.linalg.norm(middle - source.place[:2]) < 3:
            place = np.array([*(middle + away * rng.uniform(-0.4, 0.9) * direction), source.place[2]])
            yaw = math.atan2(*(away * direction)[::-1]) + math.radians(rng.uniform(-50, 50))
            return Pose(place + [*rng.normal(0, 0.1, 2), 0], yaw, source.pitch + nod, source.roll)
    if kind < 0.7:
        return source.moved(0.05 * rng.standard_normal(3), turn, nod)
    step = source.towards(angle, length) + [0, 0, 0.05 * rng.standard_normal()]
    return source.moved(step, turn if kind < 0.85 else 0.25 * rng.standard_normal(), nod)


def _further(rng: np.random.Generator, pose: Pose, side: int) -> Pose:
    """A pose that sees much of what another one does, turned on or back a little and moved."""
    step = pose.towards(rng.uniform(-math.pi, math.pi), rng.uniform(0, 0.35))
    return pose.moved(step, side * math.radians(rng.uniform(-15, 25)), 0.05 * rng.standard_normal())


def _away(sight: _Sight, rng: np.random.Generator, count: int) -> list[Pose]:
    """The best of some proposals a target; the second one overlaps the first in what no source saw."""
    sources, side = sight.sources, int(rng.choice([-1, 1]))
    slots: list[list[Pose]] = []
    for slot in range(count):
        turned = side if rng.random() < 0.75 else -side
        base = [sources[rng.integers(len(sources))] for _ in range(PROPOSALS)]
        if slot == 1:
            slots.append([_further(rng, pose, side) for pose in slots[0]])
        else:
            slots.append([_look_away(sight.room, rng, pose, turned) for pose in base])
    points, unseen = sight.unseen([pose for slot in slots for pose in slot])
    cost = _cost(unseen.mean(axis=1), _free(sight.room, [p for slot in slots for p in slot])).reshape(count, PROPOSALS)
    if count > 1:
        both = sight.overlap(slots[1], points[:PROPOSALS], unseen[:PROPOSALS])
        cost[:2] = cost[0] + cost[1] + np.maximum(0.25 - both, 0)
    return [slot[row.argmin()] for slot, row in zip(slots, cost, strict=True)]


def _cost(share: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Distance of proposals from a share unseen within UNSEEN and from a place with some room; 0 is good."""
    low, high = UNSEEN[0] + 0.05, UNSEEN[1] - 0.05  # the grid is coarse
    return np.maximum(low - share, 0) + np.maximum(share - high, 0) + 10 * np.maximum(0.08 - free, 0)


class _Sight:
    """The points of a room that sources see, exactly, along a grid of rays."""

    def __init__(self, room: Room, K: np.ndarray, sources: list[Pose]):
        self.room, self.K, self.sources = room, K, sources
        self.scene: SceneBatch = stack_rooms([room])
        y, x = np.mgrid[: GRID[1], : GRID[0]].reshape(2, -1) + 0.5
        self.rays = np.linalg.inv(K) @ np.stack([x, y, np.ones_like(x)])  # (3, G)

    def unseen(self, poses: list[Pose]) -> tuple[np.ndarray, np.ndarray]:
        """World points (N, G, 3) that cameras see and whether no source saw them (N, G)."""
        c2w = np.stack([pose.c2w for pose in poses])
        rays = (c2w[:, :3, :3] @ self.rays).transpose(0, 2, 1)
        places = np.broadcast_to(c2w[:, None, :3, 3], rays.shape)
        points = places + self._hit(places, rays)[..., None] * rays
        unseen = np.ones(points.shape[:2], bool)
        for source in self.sources:
            inside = self._inside(points, source.c2w)
            rays = points[inside] - source.place
            unseen[inside] &= self._hit(np.broadcast_to(source.place, rays.shape), rays) < 1 - TOLERANCE
        return points, unseen

    def overlap(self, poses: list[Pose], points: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        """Share (N,) of all points (N, G, 3) that are unseen (N, G) and within the image of camera n."""
        inside = np.stack([self._inside(p, pose.c2w) for p, pose in zip(points, poses, strict=True)])
        return (inside & unseen).mean(axis=1)

    def _hit(self, places: np.ndarray, rays: np.ndarray) -> np.ndarray:
        flat = [torch.tensor(x.reshape(1, -1, 3)).float().transpose(1, 2) for x in (places, rays)]
        return first_hit(self.scene, *flat)[0].reshape(rays.shape[:-1]).numpy()

    def _inside(self, points: np.ndarray, c2w: np.ndarray) -> np.ndarray:
        camera = (points - c2w[:3, 3]) @ c2w[:3, :3]
        depth = camera[..., 2]
        pixel = (camera @ self.K.T)[..., :2] / np.where(depth > 0.01, depth, np.inf)[..., None]
        return (depth > 0.01) & ((pixel > 0) & (pixel < GRID)).all(axis=-1)


def unseen(views: RoomViews, sources: int) -> Tensor:
    """(S, T, H, W) whether no source saw what target pixels show, by exact depth; `sources` views come first.

    Raises InvalidRequest if that leaves no source or no target.
    """
    if not 0 < sources < views.depth.shape[1]:
        raise InvalidRequest(f"{sources} sources of {views.depth.shape[1]} views leave no source or no target")
    height, width = views.depth.shape[-2:]
    K, c2w, depth = (x[:, sources:] for x in (views.K, views.c2w, views.depth))
    points = c2w[..., :3, :3] @ directions(K, height, width) * depth.flatten(2)[:, :, None] + c2w[..., :3, 3:]
    points = points.mT.unflatten(2, (height, width))  # (S, T, H, W, 3)
    seen = torch.zeros_like(depth, dtype=torch.bool)
    for k in range(sources):
        seen |= _seen(points, views.depth[:, k], views.K[:, k], views.c2w[:, k])
    return ~seen


def _seen(points: Tensor, depth: Tensor, K: Tensor, c2w: Tensor) -> Tensor:
    """Tell whether a camera with depth (S, H, W), K (S, 3, 3), c2w (S, 4, 4) sees world points (S, T, H, W, 3)."""
    height, width = depth.shape[-2:]
    flat = points.flatten(1, 3)
    camera = (flat - c2w[:, None, :3, 3]) @ c2w[:, :3, :3]
    z = camera[..., 2]
    pixel = (camera @ K.mT)[..., :2] / z.clamp_min(1e-3)[..., None]
    size = torch.tensor([width, height], device=depth.device)
    inside = (z > 1e-2) & (pixel > 0).all(-1) & (pixel < size).all(-1)
    # Inverse depth is linear on a plane: floors that are seen at a low angle agree, too.
    inverse, grid = (1 / depth)[:, None], (2 * pixel / size - 1)[:, None]
    agrees = torch.zeros_like(inside)
    for mode in ("bilinear", "nearest"):
        there = torch.nn.functional.grid_sample(inverse, grid, mode=mode, padding_mode="border", align_corners=False)
        agrees |= (there[:, 0, 0] * z - 1).abs() < TOLERANCE
    return (inside & agrees).view(points.shape[:-1])
