# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A batched ray tracer for rooms of boxes, spheres and cylinders: colour and exact depth, in plain torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

FAR = 1e6


@dataclass
class SceneBatch:
    """S scenes with the same number of primitives each. World: z up, metres; the room is [0, size].

    size: (S, 3). boxes: (S, K, 7) centre, half extents, yaw. spheres: (S, M, 4) centre, radius.
    cylinders: (S, N, 5) centre, radius, half height (upright).
    surfaces: (S, 6 + K + M + N, 12) material of the six room faces (-x, +x, -y, +y, -z, +z), then of each primitive:
    colour a (3), colour b (3), pattern amplitudes (square, stripe, waves), frequency (1/m), turn (rad), phase.
    lights: (S, L, 4) position, power. ambient: (S,).
    """

    size: Tensor
    boxes: Tensor
    spheres: Tensor
    cylinders: Tensor
    surfaces: Tensor
    lights: Tensor
    ambient: Tensor

    def to(self, device: torch.device | str) -> SceneBatch:
        return SceneBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def _turn(x: Tensor, y: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return cos * x + sin * y, cos * y - sin * x


def _reciprocal(x: Tensor) -> Tensor:
    return 1 / torch.where(x.abs() < 1e-9, torch.full_like(x, 1e-9), x)


def _slab(origin: Tensor, ray: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave |x| < half, from one coordinate of them."""
    inverse = _reciprocal(ray)
    middle, reach = -origin * inverse, half * inverse.abs()
    return middle - reach, middle + reach


def _box(origin: Tensor, ray: Tensor, box: Tensor) -> Tensor:
    """Entry distance (S, R) of rays (S, 3, R) into one yawed box a scene (S, 7); FAR where missed."""
    centre, half, yaw = box[:, :3, None], box[:, 3:6], box[:, 6:]
    cos, sin = yaw.cos(), yaw.sin()
    offset = origin - centre
    ox, oy = _turn(offset[:, 0], offset[:, 1], cos, sin)
    dx, dy = _turn(ray[:, 0], ray[:, 1], cos, sin)
    near, far = _slab(ox, dx, half[:, :1])
    for o, d, reach in ((oy, dy, half[:, 1:2]), (offset[:, 2], ray[:, 2], half[:, 2:])):
        enter, leave = _slab(o, d, reach)
        near, far = torch.maximum(near, enter), torch.minimum(far, leave)
    return torch.where((near < far) & (near > 1e-4), near, FAR)


def _sphere(origin: Tensor, ray: Tensor, sphere: Tensor) -> Tensor:
    offset = origin - sphere[:, :3, None]
    a = (ray * ray).sum(1)
    b = (offset * ray).sum(1)
    c = (offset * offset).sum(1) - sphere[:, 3:] ** 2
    disc = b * b - a * c
    t = (-b - disc.clamp_min(0).sqrt()) / a
    return torch.where((disc > 0) & (t > 1e-4), t, FAR)


def _cylinder(origin: Tensor, ray: Tensor, cylinder: Tensor) -> Tensor:
    """Side or top / bottom cap of an upright cylinder."""
    offset = origin - cylinder[:, :3, None]
    radius2, half = cylinder[:, 3:4] ** 2, cylinder[:, 4:5]
    a = ray[:, 0] ** 2 + ray[:, 1] ** 2 + 1e-12
    b = offset[:, 0] * ray[:, 0] + offset[:, 1] * ray[:, 1]
    c = offset[:, 0] ** 2 + offset[:, 1] ** 2 - radius2
    disc = b * b - a * c
    side = (-b - disc.clamp_min(0).sqrt()) / a
    hit_side = (disc > 0) & (side > 1e-4) & ((offset[:, 2] + side * ray[:, 2]).abs() < half)
    inverse = _reciprocal(ray[:, 2])
    cap = -offset[:, 2] * inverse - half * inverse.abs()
    x, y = offset[:, 0] + cap * ray[:, 0], offset[:, 1] + cap * ray[:, 1]
    hit_cap = (cap > 1e-4) & (x * x + y * y < radius2)
    return torch.minimum(torch.where(hit_side, side, FAR), torch.where(hit_cap, cap, FAR))


def _first_hit(scene: SceneBatch, origin: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (S, R) in units of the ray's length and index (S, R) of the surface hit first."""
    inverse = _reciprocal(ray)
    # A ray along a wall (component 0) meets it at plus infinity.
    walls = torch.where(ray < 0, -origin * inverse, (scene.size[..., None] - origin) * inverse)
    distance, axis = walls.min(dim=1)
    index = 2 * axis + (ray.gather(1, axis[:, None])[:, 0] > 0).long()
    number = 6
    for shapes, intersect in ((scene.boxes, _box), (scene.spheres, _sphere), (scene.cylinders, _cylinder)):
        for k in range(shapes.shape[1]):
            t = intersect(origin, ray, shapes[:, k])
            closer = t < distance
            distance = torch.where(closer, t, distance)
            index = torch.where(closer, number, index)
            number += 1
    return distance, index


def _occluded(scene: SceneBatch, point: Tensor, to_light: Tensor) -> Tensor:
    blocked = torch.zeros_like(point[:, 0], dtype=torch.bool)
    for shapes, intersect in ((scene.boxes, _box), (scene.spheres, _sphere), (scene.cylinders, _cylinder)):
        for k in range(shapes.shape[1]):
            blocked |= intersect(point, to_light, shapes[:, k]) < 0.999
    return blocked


def _surface_frame(scene: SceneBatch, point: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Normal (S, 3, R) and texture coordinates (S, 2, R) in metres at hit points (S, 3, R)."""
    K, M = scene.boxes.shape[1], scene.spheres.shape[1]
    N = scene.cylinders.shape[1]
    # Every surface as (centre, half extents, yaw), so that one gather serves all.
    S = point.shape[0]
    room = torch.cat([scene.size / 2, scene.size / 2, torch.zeros_like(scene.size[:, :1])], dim=1)
    table = torch.cat(
        [
            room[:, None].expand(S, 6, 7),
            scene.boxes,
            torch.cat([scene.spheres, scene.spheres[..., 3:], scene.spheres[..., 3:], 0 * scene.spheres[..., 3:]], -1),
            torch.cat(
                [
                    scene.cylinders[..., :3],
                    scene.cylinders[..., 3:4],
                    scene.cylinders[..., 3:4],
                    scene.cylinders[..., 4:],
                    0 * scene.cylinders[..., 4:],
                ],
                -1,
            ),
        ],
        dim=1,
    )
    shape = table.gather(1, index[..., None].expand(-1, -1, 7)).transpose(1, 2)  # (S, 7, R)
    cos, sin = shape[:, 6].cos(), shape[:, 6].sin()
    local = point - shape[:, :3]
    lx, ly = _turn(local[:, 0], local[:, 1], cos, sin)
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
    nx, ny = _turn(normal[:, 0], normal[:, 1], cos, -sin)
    normal = torch.nn.functional.normalize(torch.stack([nx, ny, normal[:, 2]], dim=1), dim=1)
    normal = torch.where(is_room, -normal, normal)
    # Flat faces: the two other coordinates; curved ones: arc length and height.
    u = torch.where(axis[:, 0] == 0, ly, lx)
    v = torch.where(axis[:, 0] == 2, ly, local[:, 2])
    curved = (is_sphere | on_side)[:, 0]
    arc = torch.atan2(ly, lx) * shape[:, 3]
    uv = torch.stack([torch.where(curved, arc, u), torch.where(curved, local[:, 2], v)], dim=1)
    return normal, uv


def _square_wave(x: Tensor, blur: Tensor) -> Tensor:
    """Square wave of period 1 in -1..1 whose edges are `blur` periods wide: no aliasing."""
    wave = torch.sin(2 * math.pi * x) / (2 * math.pi * blur).clamp_min(1e-2)
    return wave.clamp(-1, 1) * (1 - blur).clamp(0, 1)


def _albedo(material: Tensor, uv: Tensor, footprint: Tensor) -> Tensor:
    """(S, 3, R) colour of a material (S, 12, R) at uv (S, 2, R); details below `footprint` metres fade out."""
    frequency, turn, phase = material[:, 9], material[:, 10], material[:, 11]
    u, v = _turn(uv[:, 0], uv[:, 1], turn.cos(), turn.sin())
    u, v = u * frequency + phase, v * frequency + 2.3 * phase
    blur = footprint * frequency
    square = _square_wave(u, blur) * _square_wave(v, blur)
    stripe = _square_wave(0.7 * v + 0.15 * torch.sin(1.7 * u), blur)
    waves = torch.zeros_like(u)
    for fu, fv, amplitude in (
        (0.31, 0.17, 0.5),
        (-0.43, 0.61, 0.4),
        (1.3, -0.9, 0.3),
        (2.1, 2.7, 0.3),
        (-5.1, 3.9, 0.25),
    ):
        fade = torch.exp(-((3 * math.hypot(fu, fv) * blur) ** 2))
        waves = waves + amplitude * fade * torch.sin(2 * math.pi * (fu * u + fv * v) + 5 * phase * fu)
    mix = 0.5 + 0.5 * (material[:, 6] * square + material[:, 7] * stripe + material[:, 8] * waves)
    mix = mix.clamp(0, 1)[:, None]
    return material[:, :3] * mix + material[:, 3:6] * (1 - mix)


@torch.no_grad()
def render(
    scene: SceneBatch, K: Tensor, c2w: Tensor, height: int, width: int, shadows: bool = True, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Images (S, V, 3, H, W) in 0..1 and z-depths (S, V, H, W) in metres.

    K: (S, V, 3, 3) pixels (first pixel centre at 0.5); c2w: (S, V, 4, 4) OpenCV camera to world.
    chunk: rays a scene traced at a time, None for all. Uncompiled, a few thousand are fastest: they stay in the cache.
    """
    S, V = K.shape[:2]
    device = K.device
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    x, y = x.flatten() + 0.5, y.flatten() + 0.5
    rays = torch.stack(
        [
            (x - K[..., 0, 2, None]) / K[..., 0, 0, None],
            (y - K[..., 1, 2, None]) / K[..., 1, 1, None],
            torch.ones(S, V, height * width, device=device),
        ],
        dim=2,
    )  # (S, V, 3, HW) with z = 1, so that the distance along the ray is the z-depth
    rays = (c2w[..., :3, :3] @ rays).transpose(1, 2).reshape(S, 3, -1)
    origin = c2w[..., :3, 3].transpose(1, 2)[..., None].expand(S, 3, V, height * width).reshape(S, 3, -1)
    focal = K[..., 0, 0, None].expand(S, V, height * width).reshape(S, -1)
    if chunk is None:
        image, distance = _trace(scene, origin, rays, focal, shadows)
    else:
        parts = zip(origin.split(chunk, -1), rays.split(chunk, -1), focal.split(chunk, -1), strict=True)
        images, distances = zip(*(_trace(scene, *part, shadows) for part in parts), strict=True)
        image, distance = torch.cat(images, -1), torch.cat(distances, -1)
    image = image.reshape(S, 3, V, height, width).transpose(1, 2)
    return image, distance.reshape(S, V, height, width)


def _trace(scene: SceneBatch, origin: Tensor, rays: Tensor, focal: Tensor, shadows: bool) -> tuple[Tensor, Tensor]:
    """Colours (S, 3, R) and distances (S, R) seen along rays (S, 3, R); focal: (S, R) pixels, for the footprint."""
    distance, index = _first_hit(scene, origin, rays)
    point = origin + distance[:, None] * rays
    normal, uv = _surface_frame(scene, point, index)
    material = scene.surfaces.gather(1, index[..., None].expand(-1, -1, 12)).transpose(1, 2)
    length = rays.norm(dim=1)
    facing = ((normal * rays).sum(1).abs() / length).clamp_min(0.15)
    albedo = _albedo(material, uv, distance / focal / facing)
    lit = scene.ambient[:, None].expand_as(distance).clone()
    for k in range(scene.lights.shape[1]):
        to_light = scene.lights[:, k, :3, None] - point
        span = to_light.norm(dim=1)
        lambert = ((normal * to_light).sum(1) / span).clamp_min(0) * scene.lights[:, k, 3:] / (1 + 0.15 * span**2)
        if shadows and k == 0:
            lambert = lambert * torch.where(_occluded(scene, point + 1e-3 * normal, to_light), 0.25, 1.0)
        lit = lit + lambert
    return (albedo * lit[:, None]).clamp(0, 1), distance
