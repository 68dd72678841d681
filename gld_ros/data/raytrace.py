# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A batched ray tracer for rooms of boxes, spheres and cylinders: colour and exact depth, in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.data.textures import COLUMNS, PLAIN, albedo, turned
from gld_ros.geometry.rays import directions

FAR = 1e6


@dataclass
class SceneBatch:
    """S scenes with the same number of primitives each. World: z up, metres; the room is [0, size].

    size: (S, 3). boxes: (S, K, 7) centre, half extents, yaw. spheres: (S, M, 4) centre, radius.
    cylinders: (S, N, 5) centre, radius, half height (upright).
    surfaces: (S, 6 + K + M + N, 12 or 27) material of the six room faces (-x, +x, -y, +y, -z, +z), then of each
    primitive: colour a (3), colour b (3), pattern amplitudes (square, stripe, waves), frequency (1/m), turn (rad),
    phase; a photo-like one has more, see `textures.COLUMNS`.
    lights: (S, L, 4) position, power. ambient: (S,).
    """

    size: Tensor
    boxes: Tensor
    spheres: Tensor
    cylinders: Tensor
    surfaces: Tensor
    lights: Tensor
    ambient: Tensor

    def __post_init__(self) -> None:
        # Once a scene rather than once a ray: the compiled ray tracer fuses whatever it computes into the loop of rays.
        yaw = self.boxes[..., 6:]
        self.turns = torch.cat([yaw.cos(), yaw.sin()], dim=-1)

    def to(self, device: torch.device | str) -> SceneBatch:
        return SceneBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def _reciprocal(x: Tensor) -> Tensor:
    return 1 / torch.where(x.abs() < 1e-9, torch.full_like(x, 1e-9), x)


def _slab(origin: Tensor, ray: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """The distances at which rays enter and leave |x| < half, from one coordinate of them."""
    inverse = _reciprocal(ray)
    middle, reach = -origin * inverse, half * inverse.abs()
    return middle - reach, middle + reach


def _box(origin: Tensor, ray: Tensor, box: Tensor, turns: Tensor) -> Tensor:
    """Entry distance (S, K, R) of rays (S, 3, R) into yawed boxes (S, K, 7); FAR where missed.

    turns: (S, K, 2) cosine and sine of the yaw.
    """
    centre, half = box[..., :3, None], box[..., 3:6, None]
    cos, sin = turns[..., :1], turns[..., 1:]
    offset = origin[:, None] - centre
    ray = ray[:, None]
    ox, oy = turned(offset[:, :, 0], offset[:, :, 1], cos, sin)
    dx, dy = turned(ray[:, :, 0], ray[:, :, 1], cos, sin)
    near, far = _slab(ox, dx, half[:, :, 0])
    for o, d, reach in ((oy, dy, half[:, :, 1]), (offset[:, :, 2], ray[:, :, 2], half[:, :, 2])):
        enter, leave = _slab(o, d, reach)
        near, far = torch.maximum(near, enter), torch.minimum(far, leave)
    return torch.where((near < far) & (near > 1e-4), near, FAR)


def _sphere(origin: Tensor, ray: Tensor, sphere: Tensor) -> Tensor:
    offset = origin[:, None] - sphere[..., :3, None]
    ray = ray[:, None]
    a = (ray * ray).sum(2)
    b = (offset * ray).sum(2)
    c = (offset * offset).sum(2) - sphere[..., 3:] ** 2
    disc = b * b - a * c
    t = (-b - disc.clamp_min(0).sqrt()) / a
    return torch.where((disc > 0) & (t > 1e-4), t, FAR)


def _cylinder(origin: Tensor, ray: Tensor, cylinder: Tensor) -> Tensor:
    """Side or top / bottom cap of an upright cylinder."""
    offset = origin[:, None] - cylinder[..., :3, None]
    ray = ray[:, None]
    ox, oy, oz = offset.unbind(2)
    dx, dy, dz = ray.unbind(2)
    radius2, half = cylinder[..., 3:4] ** 2, cylinder[..., 4:5]
    a = dx**2 + dy**2 + 1e-12
    b = ox * dx + oy * dy
    c = ox**2 + oy**2 - radius2
    disc = b * b - a * c
    side = (-b - disc.clamp_min(0).sqrt()) / a
    hit_side = (disc > 0) & (side > 1e-4) & ((oz + side * dz).abs() < half)
    inverse = _reciprocal(dz)
    cap = -oz * inverse - half * inverse.abs()
    x, y = ox + cap * dx, oy + cap * dy
    hit_cap = (cap > 1e-4) & (x * x + y * y < radius2)
    return torch.minimum(torch.where(hit_side, side, FAR), torch.where(hit_cap, cap, FAR))


def _entries(scene: SceneBatch, origin: Tensor, ray: Tensor) -> Iterator[Tensor]:
    """Entry distances (S, K, R), (S, M, R), (S, N, R) into the boxes, spheres, cylinders, where there are any."""
    if scene.boxes.shape[1]:
        yield _box(origin, ray, scene.boxes, scene.turns)
    if scene.spheres.shape[1]:
        yield _sphere(origin, ray, scene.spheres)
    if scene.cylinders.shape[1]:
        yield _cylinder(origin, ray, scene.cylinders)


def first_hit(scene: SceneBatch, origin: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (S, R) in units of the ray's length and index (S, R) of the surface that rays (S, 3, R) hit first."""
    inverse = _reciprocal(ray)
    # A ray along a wall (component 0) meets it at plus infinity.
    walls = torch.where(ray < 0, -origin * inverse, (scene.size[..., None] - origin) * inverse)
    distance, axis = walls.min(dim=1)
    index = 2 * axis + (ray.gather(1, axis[:, None])[:, 0] > 0).long()
    number = 6
    # One minimum over all shapes of a kind: unrolled, tens of shapes take minutes to compile.
    for entry in _entries(scene, origin, ray):
        t, which = entry.min(dim=1)
        closer = t < distance
        distance = torch.where(closer, t, distance)
        index = torch.where(closer, number + which, index)
        number += entry.shape[1]
    return distance, index


def _occluded(scene: SceneBatch, point: Tensor, to_light: Tensor) -> Tensor:
    blocked = torch.zeros_like(point[:, 0], dtype=torch.bool)
    for entry in _entries(scene, point, to_light):
        blocked |= entry.amin(dim=1) < 0.999
    return blocked


def _surface_frame(scene: SceneBatch, point: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Normal (S, 3, R) and texture coordinates (S, 2, R) in metres at hit points (S, 3, R)."""
    K, M, N = (shapes.shape[1] for shapes in (scene.boxes, scene.spheres, scene.cylinders))
    # Every surface as (centre, half extents, yaw), so that one gather serves all.
    room = F.pad(torch.cat([scene.size / 2, scene.size / 2], dim=-1), (0, 1))[:, None].expand(-1, 6, 7)
    spheres = torch.cat([scene.spheres, scene.spheres[..., 3:].expand(-1, -1, 2)], dim=-1)
    cylinders = torch.cat([scene.cylinders[..., :4], scene.cylinders[..., 3:]], dim=-1)
    table = torch.cat([room, scene.boxes, F.pad(spheres, (0, 1)), F.pad(cylinders, (0, 1))], dim=1)
    shape = table.gather(1, index[..., None].expand(-1, -1, 7)).transpose(1, 2)  # (S, 7, R)
    cos, sin = shape[:, 6].cos(), shape[:, 6].sin()
    local = point - shape[:, :3]
    lx, ly = turned(local[:, 0], local[:, 1], cos, sin)
    local = torch.stack([lx, ly, local[:, 2]], dim=1)
    relative = local / shape[:, 3:6]
    axis = relative.abs().argmax(dim=1, keepdim=True)
    flat = torch.zeros_like(local).scatter(1, axis, relative.gather(1, axis).sign())
    is_room = (index < 6)[:, None]
    is_sphere = ((index >= 6 + K) & (index < 6 + K + M))[:, None]
    is_cylinder = (index >= 6 + K + M)[:, None] if N else torch.zeros_like(is_room)
    side = torch.stack([lx, ly, torch.zeros_like(lx)], dim=1)
    on_side = is_cylinder & (relative[:, 2:].abs() < 0.999)
    normal = torch.where(is_sphere, local, torch.where(on_side, side, flat))
    nx, ny = turned(normal[:, 0], normal[:, 1], cos, -sin)
    normal = F.normalize(torch.stack([nx, ny, normal[:, 2]], dim=1), dim=1)
    normal = torch.where(is_room, -normal, normal)
    # Flat faces: the two other coordinates; curved ones: arc length and height.
    u = torch.where(axis[:, 0] == 0, ly, lx)
    v = torch.where(axis[:, 0] == 2, ly, local[:, 2])
    curved = (is_sphere | on_side)[:, 0]
    arc = torch.atan2(ly, lx) * shape[:, 3]
    uv = torch.stack([torch.where(curved, arc, u), torch.where(curved, local[:, 2], v)], dim=1)
    return normal, uv


@torch.no_grad()
def render(
    scene: SceneBatch,
    K: Tensor,
    c2w: Tensor,
    height: int,
    width: int,
    shadows: bool = True,
    chunk: int | None = None,
    stages: tuple[Callable, Callable] | None = None,
) -> tuple[Tensor, Tensor]:
    """Images (S, V, 3, H, W) in 0..1 and z-depths (S, V, H, W) in metres.

    K: (S, V, 3, 3) pixels (first pixel centre at 0.5); c2w: (S, V, 4, 4) OpenCV camera to world.
    chunk: rays a scene traced at a time, None for all. Uncompiled, a few thousand are fastest: they stay in the cache.
    stages: compiled ones, see `compiled_render`.
    """
    S, V = K.shape[:2]
    # With z = 1 the distance along a ray is the z-depth.
    rays = (c2w[..., :3, :3] @ directions(K, height, width)).transpose(1, 2).reshape(S, 3, -1)
    origin = c2w[..., :3, 3].transpose(1, 2)[..., None].expand(S, 3, V, height * width).reshape(S, 3, -1)
    focal = K[..., 0, 0, None].expand(S, V, height * width).reshape(S, -1)
    meet, colour = stages or (_meet, _colour)
    images, distances = [], []
    size = chunk or rays.shape[-1]
    for o, r, f in zip(origin.split(size, -1), rays.split(size, -1), focal.split(size, -1), strict=True):
        hits = meet(scene, o, r, shadows)
        images.append(colour(scene, r, f, hits))
        distances.append(hits.distance)
    image, distance = torch.cat(images, -1), torch.cat(distances, -1)
    image = image.reshape(S, 3, V, height, width).transpose(1, 2)
    return image, distance.reshape(S, V, height, width)


@dataclass
class Hits:
    """The surfaces that R rays of S scenes meet.

    distance: (S, R) in units of the ray's length. index: (S, R) of the surface. point, normal: (S, 3, R) metres, unit.
    uv: (S, 2, R) metres on the surface. shade: (S, R) how much of the first light reaches it.
    """

    distance: Tensor
    index: Tensor
    point: Tensor
    normal: Tensor
    uv: Tensor
    shade: Tensor


def _meet(scene: SceneBatch, origin: Tensor, rays: Tensor, shadows: bool) -> Hits:
    distance, index = first_hit(scene, origin, rays)
    point = origin + distance[:, None] * rays
    normal, uv = _surface_frame(scene, point, index)
    shade = torch.ones_like(distance)
    if shadows:
        to_light = scene.lights[:, 0, :3, None] - point
        shade = torch.where(_occluded(scene, point + 1e-3 * normal, to_light), 0.25, 1.0)
    return Hits(distance, index, point, normal, uv, shade)


def _colour(scene: SceneBatch, rays: Tensor, focal: Tensor, hits: Hits) -> Tensor:
    """Colours (S, 3, R) seen along rays (S, 3, R); focal: (S, R) pixels, for the footprint."""
    point, normal, distance = hits.point, hits.normal, hits.distance
    columns = scene.surfaces.shape[-1]
    material = scene.surfaces.gather(1, hits.index[..., None].expand(-1, -1, columns)).transpose(1, 2)
    length = rays.norm(dim=1)
    facing = ((normal * rays).sum(1).abs() / length).clamp_min(0.15)
    colour = albedo(material, hits.uv, point[:, 2], distance / focal / facing)
    lit = scene.ambient[:, None].expand_as(distance).clone()
    if columns > PLAIN:
        lit = lit * _corner_shade(scene, point) + material[:, COLUMNS["glow"]]
    for k in range(scene.lights.shape[1]):
        to_light = scene.lights[:, k, :3, None] - point
        span = to_light.norm(dim=1)
        lambert = ((normal * to_light).sum(1) / span).clamp_min(0) * scene.lights[:, k, 3:] / (1 + 0.15 * span**2)
        lit = lit + (lambert * hits.shade if k == 0 else lambert)
    return (colour * lit[:, None]).clamp(0, 1)


def _corner_shade(scene: SceneBatch, point: Tensor) -> Tensor:
    """Share (S, R) of the ambient light that reaches points (S, 3, R): less in the corners of the room."""
    near_wall = torch.exp(-4 * torch.minimum(point, scene.size[..., None] - point).clamp_min(0))
    return (1 - 0.3 * near_wall).prod(dim=1) / 0.7


def compiled_render() -> Callable[..., tuple[Tensor, Tensor]]:
    """`render` with its two stages fused by torch.compile: tens of times faster on a CPU.

    Every shape (scenes, views, size, columns) is compiled once, which takes a minute or less.
    """
    # By default the compiler writes the distances to all shapes to memory, which is four times slower.
    fused: dict[str, str | int | bool | Callable[..., Any]] = {
        "realize_opcount_threshold": 1000,
        "realize_reads_threshold": 100,
    }
    stages = torch.compile(_meet, dynamic=False, options=fused), torch.compile(_colour, dynamic=False)
    return partial(render, stages=stages)
