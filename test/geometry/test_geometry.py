# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras, rigid motions, rays, alignment, warping."""

import numpy as np
import pytest
import torch

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.alignment import robust_scale
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import project, unproject
from gld_ros.geometry.rays import directions, invert_rigid, plucker, ray_map
from gld_ros.geometry.se3 import invert, look_at, rotation_angle
from gld_ros.geometry.warp import Warp, close_cracks, forward_warp, guided_upsample, pull_push, resample, solid

K = np.array([[100.0, 0, 32], [0, 90, 24], [0, 0, 1]])
POSE = look_at(np.array([1.0, 2, 3]), np.array([4.0, 4, 2]))


def camera(**changes) -> Camera:
    return Camera(**{"K": K, "c2w": POSE, "width": 64, "height": 48, **changes})


def test_autocast_rounds_no_camera():
    values, depth = torch.rand(1, 1, 3, 12, 16), 1 + torch.rand(1, 1, 12, 16)
    k = torch.tensor([[14.0, 0, 8], [0, 14, 6], [0, 0, 1]])[None]
    c2w = torch.tensor(np.stack([POSE, look_at(np.array([1.1, 2, 3.1]), np.array([4.0, 4, 2]))])[:, None]).float()
    warp = forward_warp(values, depth, k[None], c2w[:1], k, c2w[1], (12, 16))

    def all_of_it():
        again = resample(warp, values, depth, k[None], c2w[:1], k, c2w[1])
        splatted = forward_warp(values, depth, k[None], c2w[:1], k, c2w[1], (12, 16))
        return [invert_rigid(c2w), plucker(k, c2w[:, 0], 4, 5), ray_map(k, c2w[:, 0], 4, 5), again.values,
                splatted.values, splatted.depth]  # fmt: skip

    expected = all_of_it()
    with torch.autocast("cpu", torch.bfloat16):
        for x, y in zip(all_of_it(), expected, strict=True):
            assert x.dtype == torch.float32 and torch.equal(x, y)


def test_look_at_sees_its_target_in_the_middle_and_up_is_up():
    pixels, depth = project(np.array([[4.0, 4, 2], [4.0, 4, 2.5]]), camera())
    assert np.allclose(pixels[0], (32, 24)) and depth[0] == pytest.approx(np.sqrt(14))
    assert pixels[1, 1] < 24  # y points down


def test_invert_and_angle():
    assert np.allclose(invert(POSE) @ POSE, np.eye(4))
    turned = POSE.copy()
    turned[:3, :3] = POSE[:3, :3] @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    assert rotation_angle(POSE, turned) == pytest.approx(np.pi / 2)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"width": 0}, "size"),
        ({"K": np.zeros((3, 3))}, "focal"),
        ({"K": K * np.nan}, "focal"),
        ({"c2w": np.full((4, 4), np.nan)}, "NaN"),
        ({"c2w": np.diag([1.0, 1, -1, 1])}, "left-handed"),
        ({"c2w": np.diag([2.0, 2, 2, 1])}, "rigid"),
    ],
)
def test_bad_cameras_are_named(changes, word):
    with pytest.raises(InvalidRequest, match=f"source 3.*{word}"):
        camera(**changes).check("source 3")


def test_projection_follows_resize_and_crop():
    point = np.array([[3.9, 4.1, 2.1]])
    (pixel,), _ = project(point, camera())
    (half,), _ = project(point, camera().resized(32, 24))
    (cut,), _ = project(point, camera().cropped(5, 7, 40, 30))
    assert np.allclose(half, pixel / 2) and np.allclose(cut, pixel - (5, 7))


def test_unproject_and_project_are_inverse():
    depth = np.random.default_rng(0).uniform(1, 5, (48, 64))
    pixels, z = project(unproject(depth, camera()), camera())
    y, x = np.mgrid[:48, :64]
    assert np.allclose(z, depth) and np.allclose(pixels, np.stack([x, y], -1) + 0.5)


def test_plucker_moment_is_independent_of_the_point_on_the_ray():
    rays = plucker(torch.tensor(K), torch.tensor(POSE), 48, 64)
    direction, moment = rays[:3], rays[3:]
    assert torch.allclose(direction.norm(dim=0), torch.ones(48, 64, dtype=torch.float64))
    point = torch.tensor(POSE[:3, 3])[:, None, None] + 2.7 * direction
    assert torch.allclose(torch.cross(point, direction, dim=0), moment)


def test_robust_scale_ignores_outliers():
    predicted = torch.rand(1000) + 1
    reference = 3 * predicted
    reference[:300] *= 10
    value, residual = robust_scale(predicted, reference)
    assert value == pytest.approx(3, rel=1e-5) and residual < 1e-5


def plane_scene():
    """Two cameras 0.2 m apart before a textured plane 2 m away; returns images, depth, K, c2w of both."""
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = 0.2  # 10 pixels at 2 m with f = 100
    images = torch.stack([torch.sin((x + shift) / 4) * torch.cos(y / 5) for shift in (0, 10)])[:, None]
    return images, torch.full((2, 48, 64), 2.0), torch.tensor(K).float().repeat(2, 1, 1), c2w


def test_forward_warp_lands_where_the_other_camera_sees_it():
    images, depth, K2, c2w = plane_scene()
    warp = forward_warp(images[None, :1], depth[None, :1], K2[None, :1], c2w[None, :1], K2[1:], c2w[1:], (48, 64))
    assert warp.seen[0, :, :53].all() and not warp.seen[0, :, 55:].any()  # 10 columns come from outside the source
    assert torch.allclose(warp.values[0, 0, :, :53], images[1, 0, :, :53], atol=1e-4)
    assert torch.allclose(warp.depth[0, :, :53], torch.full((48, 53), 2.0), atol=1e-4)


def test_forward_warp_keeps_the_nearest_surface():
    images, depth, K2, c2w = plane_scene()
    near = torch.ones_like(depth) * 1.0
    values = torch.cat([torch.zeros(1, 1, 48, 64), torch.ones(1, 1, 48, 64)])
    both = torch.stack([depth[0], near[0]])
    still = torch.eye(4).repeat(2, 1, 1)
    warp = forward_warp(values[None], both[None], K2[None], still[None], K2[:1], still[:1], (48, 64))
    assert (warp.values[warp.seen[:, None]] == 1).all() and torch.allclose(warp.depth[warp.seen], torch.tensor(1.0))


def test_unknown_depth_is_not_warped():
    images, depth, K2, c2w = plane_scene()
    depth[:, 10:20] = torch.nan
    warp = forward_warp(images[None], depth[None], K2[None], c2w[None], K2[:1], c2w[:1], (48, 64))
    assert torch.isfinite(warp.values).all() and not warp.seen[0, 12:18].any()


def test_solid_marks_steps_not_slopes():
    depth = torch.linspace(1, 2, 32).repeat(16, 1)
    assert solid(depth).all()
    depth[:, 16:] += 1
    assert (solid(depth).sum(dim=1) == 30).all()


def test_pull_push_keeps_the_seen_and_fills_the_rest():
    x = torch.zeros(1, 1, 13, 17)
    x[..., 8:] = 1
    seen = torch.ones(1, 13, 17, dtype=torch.bool)
    seen[:, 4:9, 5:12] = False
    filled = pull_push(torch.where(seen[:, None], x, 99.0), seen)
    assert torch.equal(filled[seen[:, None]], x[seen[:, None]])
    assert 0 <= filled.min() and filled.max() <= 1


@pytest.mark.parametrize("size", [(2, 64), (16, 64), (64, 7), (1, 5), (3, 100)])
def test_pull_push_fills_wide_and_tall_pictures(size):
    seen = torch.zeros(1, *size, dtype=torch.bool)
    seen[:, : max(size[0] // 8, 1), : max(size[1] // 8, 1)] = True
    filled = pull_push(torch.where(seen[:, None], 3.0, 99.0), seen)
    assert torch.allclose(filled, torch.tensor(3.0))


def test_close_cracks_fills_single_pixels_only():
    seen = torch.ones(1, 9, 9, dtype=torch.bool)
    seen[0, 4, 4] = False
    seen[0, :, 7:] = False
    x, closed = close_cracks(torch.full((1, 2, 9, 9), 3.0) * seen[:, None], seen)
    assert closed[0, 4, 4] and (x[0, :, 4, 4] == 3).all() and not closed[0, :, 8].any()


def test_guided_upsample_follows_the_edges_of_the_fine_image():
    coarse = torch.ones(1, 1, 6, 8)
    coarse[..., 4:] = 5
    guide = (coarse > 3).float().expand(1, 3, 6, 8)
    fine = torch.zeros(1, 3, 48, 64)
    fine[..., 34:] = 1  # the true edge is 2 pixels right of the coarse one
    up = guided_upsample(coarse, guide, fine)
    assert (up[..., :34] - 1).abs().max() < 0.1 and (up[..., 34:] - 5).abs().max() < 0.1


def test_directions_and_invert_rigid_agree_with_numpy():
    rays = directions(torch.tensor(K), 48, 64).reshape(3, 48, 64)
    assert rays[:, 0, 0].tolist() == pytest.approx([(0.5 - 32) / 100, (0.5 - 24) / 90, 1])
    assert np.allclose(invert_rigid(torch.tensor(POSE)).numpy(), invert(POSE))


def test_resample_reads_the_sources_back_and_keeps_what_they_do_not_confirm():
    images, depth, K2, c2w = plane_scene()
    nearer = c2w[:1].clone()
    nearer[:, 2, 3] = 0.5  # 1.5 m before the plane instead of 2 m: everything 4 / 3 as large
    given = images[None, :1], depth[None, :1], K2[None, :1], c2w[None, :1], K2[1:], nearer
    splat = forward_warp(*given, (48, 64))
    sharp = resample(splat, *given)
    x, y = torch.arange(64) + 0.5, torch.arange(48)[:, None] + 0.5
    truth = torch.sin((32 + (x - 32) * 0.75) / 4) * torch.cos((24 + (y - 24) * 0.75) / 5)
    errors = [(warp.values[0, 0] - truth)[splat.seen[0]].abs().mean() for warp in (splat, sharp)]
    assert errors[1] < 0.7 * errors[0]
    behind = Warp(splat.values, 4 * splat.depth, splat.seen)  # no source shows a surface anywhere near
    assert torch.equal(resample(behind, *given).values, splat.values)
