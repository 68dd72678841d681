# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every figure of `gld eval` against an independent formula or a case made by hand."""

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch.nn import functional as F

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.alignment import umeyama
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.keypoints import keypoints
from gld_ros.geometry.points import project
from gld_ros.geometry.se3 import look_at
from gld_ros.metrics.correspondence import pck, reprojection_error, sampson_error, true_matches
from gld_ros.metrics.geometry import align_depth, depth_errors, point_errors, trajectory_errors
from gld_ros.metrics.image import gradient_energy, psnr, sharpness, ssim_map
from gld_ros.metrics.lpips import BACKBONE, LINEAR, LPIPS
from gld_ros.metrics.uncertainty import ause, calibration_error, coverage, estimate, expected_coverage

RNG = np.random.default_rng(0)


def pictures(height=24, width=32, noise=20):
    """A smooth image and a noisy copy of it."""
    y, x = np.mgrid[:height, :width]
    real = np.stack([128 + 90 * np.sin(x / 4 + c) * np.cos(y / 5) for c in range(3)], axis=-1)
    other = np.clip(real + np.random.default_rng(1).normal(0, noise, real.shape), 0, 255)
    return other.astype(np.uint8), real.astype(np.uint8)


# Images


def test_psnr_of_a_constant_offset():
    real = np.full((6, 8, 3), 100, np.uint8)
    image = real.copy()
    image[:, :4] += 10
    where = np.zeros((6, 8), bool)
    where[:, :4] = True
    assert psnr(image, real, where) == pytest.approx(20 * math.log10(25.5))
    assert psnr(image, real) == pytest.approx(20 * math.log10(25.5) + 10 * math.log10(2))
    assert psnr(image, real, np.zeros((6, 8), bool)) is None


def test_ssim_against_a_direct_formula():
    """Windows of 11 x 11 pixels, weighted by a Gaussian of sigma 1.5."""
    image, real = pictures()
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    expected = []
    for c in range(3):
        a, b = image[..., c] / 255, real[..., c] / 255

        def mean(x):
            windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, 5, mode="reflect"), (11, 11))
            return (windows * weights).sum(axis=(2, 3))

        ma, mb = mean(a), mean(b)
        va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
        expected.append(
            (2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
        )  # fmt: skip
    np.testing.assert_allclose(ssim_map(image, real), np.mean(expected, axis=0), atol=1e-9)
    assert 0.2 < ssim_map(image, real).mean() < 0.95


def test_gradient_energy_by_hand():
    image = np.zeros((1, 4, 3), np.uint8)
    image[0, 2:] = 255
    assert gradient_energy(image) == pytest.approx(1 / 3)  # one step in three pairs, none downwards
    assert gradient_energy(image, np.array([[True, True, False, True]])) == 0  # the step's pair is not inside


def test_sharpness_falls_with_blur_and_rises_with_noise():
    noisy, real = pictures(noise=30)
    blurred = np.stack([gaussian_filter(real[..., c], 3) for c in range(3)], axis=-1)
    assert sharpness(real, real) == 1
    assert sharpness(blurred, real) < 0.5 < 1.5 < sharpness(noisy, real)
    assert sharpness(real, np.full_like(real, 9)) is None


# Depth and points


def test_depth_errors_by_hand():
    real = np.array([[1.0, 2.0, 4.0, np.nan, 1.0]])
    depth = np.array([[1.1, 2.0, 6.0, 5.0, 0.5]])
    errors = depth_errors(depth, real)
    assert errors["abs_rel"] == pytest.approx((0.1 + 0 + 0.5 + 0.5) / 4)
    assert errors["delta1"] == pytest.approx(2 / 4)
    assert errors["rmse"] == pytest.approx(math.sqrt((0.01 + 0 + 4 + 0.25) / 4))
    assert depth_errors(-depth, real)["delta1"] == 0  # as scale and shift may make it
    assert depth_errors(depth, real, np.array([[True, True, False, True, False]]))["delta1"] == 1
    assert depth_errors(depth, real, np.array([[False, False, False, True, False]])) is None


def test_alignment_takes_out_what_it_names_and_no_more():
    real = RNG.uniform(1, 5, (8, 9))
    real[0, 0] = np.nan
    assert depth_errors(align_depth(3 * real, real, "median"), real)["rmse"] < 1e-9
    shifted = 3 * real + 2
    assert depth_errors(align_depth(shifted, real, "median"), real)["abs_rel"] > 0.05
    assert depth_errors(align_depth(shifted, real, "scale_shift"), real)["rmse"] < 1e-9
    assert align_depth(shifted, real, "none") is shifted
    with pytest.raises(ValueError, match="none.*median"):
        align_depth(real, real, "affine")


def test_points_against_all_distances():
    a, b = RNG.normal(size=(300, 3)), RNG.normal(size=(200, 3)) + 0.2
    distances = np.linalg.norm(a[:, None] - b, axis=2)
    errors = point_errors(a, b)
    assert errors["accuracy"] == pytest.approx(distances.min(axis=1).mean())
    assert errors["completeness"] == pytest.approx(distances.min(axis=0).mean())
    assert errors["chamfer"] == pytest.approx((errors["accuracy"] + errors["completeness"]) / 2)
    half = point_errors(b[:100], b)  # what is there is right, half is missing
    assert half["accuracy"] < 1e-6 < half["completeness"]
    with pytest.raises(ValueError, match="0 predicted"):
        point_errors(a[:0], b)


# Poses


def poses(count=6, seed=3):
    rng = np.random.default_rng(seed)
    c2w = np.tile(np.eye(4), (count, 1, 1))
    c2w[:, :3, :3] = Rotation.random(count, random_state=seed).as_matrix()
    c2w[:, :3, 3] = rng.normal(size=(count, 3))
    return c2w


def test_umeyama_finds_a_known_similarity_and_beats_its_neighbours():
    points = RNG.normal(size=(20, 3))
    rotation = Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix()
    onto = 2.5 * points @ rotation.T + [1, -2, 3]
    found = umeyama(points, onto)
    assert found.scale == pytest.approx(2.5)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-12)
    np.testing.assert_allclose(found.points(points), onto, atol=1e-12)

    noisy = onto + RNG.normal(scale=0.3, size=onto.shape)

    def cost(x):
        moved = math.exp(x[0]) * points @ Rotation.from_rotvec(x[1:4]).as_matrix().T + x[4:]
        return ((moved - noisy) ** 2).sum()

    start = [math.log(2.4), 0.3, -1.1, 2.0, 1, -2, 3]
    best = minimize(cost, start, method="BFGS").fun
    assert ((umeyama(points, noisy).points(points) - noisy) ** 2).sum() == pytest.approx(best, rel=1e-6)


def test_umeyama_never_mirrors():
    points = RNG.normal(size=(9, 3))
    found = umeyama(points, points * [1, 1, -1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    with pytest.raises(ValueError, match="coincide"):
        umeyama(np.ones((3, 3)), points[:3])


def test_trajectory_errors_ignore_a_similarity_and_see_the_rest():
    true = poses()
    turn, scale, shift = Rotation.from_rotvec([1, 0.2, -0.5]).as_matrix(), 0.3, np.array([4, 5, 6])
    moved = true.copy()
    moved[:, :3, :3] = turn @ true[:, :3, :3]
    moved[:, :3, 3] = scale * true[:, :3, 3] @ turn.T + shift
    assert max(trajectory_errors(moved, true).values()) < 1e-5

    turned = moved.copy()  # every second camera turns by 2 degrees about its own axis: all motions are off by that
    turned[::2, :3, :3] = turned[::2, :3, :3] @ Rotation.from_rotvec([0, 0, np.radians(2)]).as_matrix()
    errors = trajectory_errors(turned, true)
    assert errors["ate"] < 1e-9 and errors["rpe_rotation_deg"] == pytest.approx(2, abs=1e-4)

    off = true.copy()
    off[2, 0, 3] += 0.5
    aligned = umeyama(off[:, :3, 3], true[:, :3, 3]).points(off[:, :3, 3])
    expected = np.sqrt(((aligned - true[:, :3, 3]) ** 2).sum(axis=1).mean())
    assert trajectory_errors(off, true)["ate"] == pytest.approx(expected)
    assert trajectory_errors(off, true)["rpe_translation"] > 0.1
    assert trajectory_errors(true[:2], true[:2]) is None


# Correspondences


def two_cameras():
    K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    middle = np.array([0, 4.0, 0])
    return [Camera(K, look_at(np.array([x, 0.0, 0.1 * x]), middle), 64, 48) for x in (-0.5, 0.5)]


def plane_depth(camera, y=4.0):
    """(H, W) depth of the wall at that y."""
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(camera.K).T @ camera.c2w[:3, :3].T
    return (y - camera.center[1]) / rays[..., 1]


def test_true_matches_are_images_of_one_point_and_hidden_ones_are_left_out():
    a, b = two_cameras()
    pixels, others = true_matches(plane_depth(a), a, plane_depth(b), b, 200)
    assert len(pixels) == 200
    rows, columns = (pixels - 0.5).astype(int).T[::-1]
    rays = np.concatenate([pixels, np.ones((200, 1))], axis=1) @ np.linalg.inv(a.K).T
    points = rays * plane_depth(a)[rows, columns, None] @ a.c2w[:3, :3].T + a.center
    np.testing.assert_allclose(project(points, b)[0], others, atol=1e-9)
    assert np.allclose(points[:, 1], 4)
    near = plane_depth(b)
    near[:, :32] = 1.0  # something stands before the left half of the other view
    assert (true_matches(plane_depth(a), a, near, b, 500)[1][:, 0] >= 32).all()


def test_pck_of_the_right_the_wrong_and_half_right_features():
    features = torch.randn(16, 6, 8, generator=torch.Generator().manual_seed(0))
    pixels = np.stack(np.meshgrid(np.arange(8) * 8 + 4.0, np.arange(6) * 8 + 4.0), axis=-1).reshape(-1, 2)
    assert pck(features, features, pixels, pixels, (48, 64), 0.05) == 1
    assert pck(features, 3 * features.flip(2), pixels, pixels, (48, 64), 0.05) == 0
    flipped = np.stack([64 - pixels[:, 0], pixels[:, 1]], axis=1)
    assert pck(features, 3 * features.flip(2), pixels, flipped, (48, 64), 0.05) == 1
    mixed = features.clone()
    mixed[:, 3:] = features[:, 3:].flip(2)
    assert pck(features, mixed, pixels, pixels, (48, 64), 0.05) == 0.5
    assert pck(features, features, pixels[:0], pixels[:0], (48, 64), 0.05) is None


def test_sampson_error_is_the_least_reprojection_error():
    a, b = two_cameras()
    points = np.array([[0.1, 4, 0.2], [-0.4, 3, 0.1], [0.3, 5, -0.5]])
    pixels, others = (project(points, camera)[0] for camera in (a, b))
    assert sampson_error(pixels, a, others, b).max() < 1e-9
    off = others + [[0.2, 0.5], [0.0, -0.4], [0.3, 0.1]]
    for k in range(3):

        def cost(x, k=k):
            return ((project(x, a)[0] - pixels[k]) ** 2).sum() + ((project(x, b)[0] - off[k]) ** 2).sum()

        best = math.sqrt(minimize(cost, points[k], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}).fun)
        assert sampson_error(pixels[k : k + 1], a, off[k : k + 1], b)[0] == pytest.approx(best, rel=1e-2)


def test_reprojection_error_of_a_textured_wall_and_of_a_shifted_one():
    """A wall of random blocks, seen by two cameras at 320 x 240; then the second picture is moved down by 4 pixels."""
    cameras = [camera.resized(320, 240) for camera in two_cameras()]
    blocks = np.kron(np.random.default_rng(2).integers(0, 255, (40, 60)), np.ones((8, 8)))
    blocks = gaussian_filter(blocks, 1)
    images = []
    for camera in cameras:
        rows, columns = np.mgrid[:240, :320] + 0.5
        rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(camera.K).T @ camera.c2w[:3, :3].T
        points = camera.center + rays * plane_depth(camera)[..., None]
        texture = blocks[(160 + points[..., 2] * 60).astype(int) % 320, (240 + points[..., 0] * 60).astype(int) % 480]
        images.append(np.repeat(texture.astype(np.uint8)[..., None], 3, axis=2))
    a, b = cameras
    first, second, moved = (keypoints(image) for image in (*images, np.roll(images[1], 4, axis=0)))
    assert reprojection_error(first, a, second, b) < 0.5
    assert reprojection_error(first, a, moved, b) == pytest.approx(4 / math.sqrt(2), abs=0.6)
    assert reprojection_error(first, a, keypoints(np.zeros_like(images[0])), b) is None


# Uncertainty


def test_ause_is_zero_for_the_right_ranking_and_largest_for_the_reverse():
    error = RNG.exponential(size=1000)
    assert ause(error, error * 7) == 0
    values = [ause(error, u) for u in (error + RNG.normal(size=1000), RNG.normal(size=1000), -error)]
    assert 0 < values[0] < values[1] < values[2]
    assert ause(np.zeros(5), np.ones(5)) is None


def test_ause_by_hand():
    """Errors 1 and 3; leaving out half by a wrong ranking keeps 3 instead of 1: gap (3 - 1) / 2 at one of two steps."""
    assert ause(np.array([1.0, 3.0]), np.array([1.0, 0.0]), steps=2) == pytest.approx((0 + 1) / 2)


def test_calibration_of_honest_and_boastful_confidence():
    confidence = RNG.uniform(size=200_000)
    right = RNG.uniform(size=200_000) < confidence
    assert calibration_error(confidence, right) < 0.01
    assert calibration_error(np.ones(10), np.arange(10) < 4) == pytest.approx(0.6)
    assert calibration_error(np.array([0.25, 0.25, 0.95, 0.95]), np.array([0, 0, 1, 1])) == pytest.approx(0.15)


def test_coverage_of_samples_of_the_truth_and_of_one_value():
    samples, truth = RNG.normal(size=(4, 50_000)), RNG.normal(size=50_000)
    assert expected_coverage(4) == pytest.approx(0.6)
    assert coverage(samples, truth) == pytest.approx(0.6, abs=0.01)
    assert coverage(np.tile(samples[:1], (4, 1)), truth) == 0


# Statistics


def test_interval_of_a_mean_and_of_one_scene():
    values = np.random.default_rng(5).normal(3, 2, size=400)
    found = estimate(values)
    assert found.mean == pytest.approx(values.mean()) and found.count == 400
    half = 1.96 * values.std() / math.sqrt(400)  # the normal approximation
    assert found.high - found.mean == pytest.approx(half, rel=0.1)
    assert found.mean - found.low == pytest.approx(half, rel=0.1)
    assert estimate(values) == found
    assert estimate(np.array([2.0])).low is None
    with pytest.raises(ValueError):
        estimate(np.array([]))


# LPIPS


@pytest.fixture
def lpips_folder(tmp_path):
    """Random weights under the published names and in the published format, which is that of torch before 1.6."""
    generator = torch.Generator().manual_seed(0)
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    backbone = {"classifier.6.bias": torch.zeros(1000)}  # for one: the file has all of VGG-16
    indices = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of torchvision's convolutions
    for index, a, b in zip(indices, widths, widths[1:], strict=False):
        backbone[f"features.{index}.weight"] = torch.randn(b, a, 3, 3, generator=generator) * (2 / 9 / a) ** 0.5
        backbone[f"features.{index}.bias"] = torch.randn(b, generator=generator) * 0.1
    ends = (64, 128, 256, 512, 512)
    linear = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator) for k, c in enumerate(ends)}
    for name, state in ((BACKBONE, backbone), (LINEAR, linear)):
        torch.save(OrderedDict(state), tmp_path / name, _use_new_zipfile_serialization=False)
    return tmp_path


def test_lpips_against_its_definition(lpips_folder):
    image, real = pictures(32, 48)
    value, where = LPIPS.from_folder(lpips_folder).distances(image, real)
    weights, linear = torch.load(lpips_folder / BACKBONE), torch.load(lpips_folder / LINEAR)
    x = torch.from_numpy(np.stack([image, real])).permute(0, 3, 1, 2) / 127.5 - 1
    x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    expected = 0.0
    for index in range(31):  # torchvision's VGG-16: convolution, ReLU, ..., pooling at 4, 9, 16, 23, 30
        if f"features.{index}.weight" in weights:
            x = F.conv2d(x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], padding=1).relu()
        if index in (3, 8, 15, 22, 29):
            unit = x / x.norm(dim=1, keepdim=True)
            k = (3, 8, 15, 22, 29).index(index)
            expected += F.conv2d((unit[:1] - unit[1:]) ** 2, linear[f"lin{k}.model.1.weight"]).mean().item()
        if index in (4, 9, 16, 23):
            x = F.max_pool2d(x, 2)
    assert value == pytest.approx(expected, rel=1e-4)
    assert where.shape == (32, 48) and where.mean() == pytest.approx(expected, rel=0.2)
    assert LPIPS.from_folder(lpips_folder).distances(real, real)[0] < 1e-9


@pytest.mark.parametrize("kept, message", [(None, "missing"), *((kept, "not a readable") for kept in (40, 60, 3000))])
def test_lpips_names_a_file_that_is_missing_or_cut_off(lpips_folder, kept, message):
    """In its head, its pickle, its tensors."""
    file = lpips_folder / LINEAR
    whole = file.read_bytes()
    file.unlink()
    if kept:
        file.write_bytes(whole[:kept])
    with pytest.raises(InvalidRequest, match=f"{LINEAR}: {message}"):
        LPIPS.from_folder(lpips_folder)


def test_lpips_reads_archives_and_refuses_other_networks(lpips_folder):
    for name in (BACKBONE, LINEAR):
        torch.save(torch.load(lpips_folder / name), lpips_folder / name)
    LPIPS.from_folder(lpips_folder)
    alex = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1) for k, c in enumerate((64, 192, 384, 256, 256))}
    torch.save(alex, lpips_folder / LINEAR)
    with pytest.raises(InvalidRequest, match="no 'lin1.model.1.weight' of 128 numbers"):
        LPIPS.from_folder(lpips_folder)
