# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval --away`: every figure where the right number is known, refusals, interruption, the command."""

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from gld_ros.cli import main
from gld_ros.errors import InvalidRequest, NoContext
from gld_ros.evaluation import scenes as away
from gld_ros.evaluation.away import away_figures, evaluate_away
from gld_ros.evaluation.away_metrics import agreement, spread_and_error
from gld_ros.evaluation.methods import Picture, depth_warp, with_true_depth
from gld_ros.evaluation.scenes import AwayScene, Scene, away_scenes
from gld_ros.evaluation.sheets import AwaySheet
from gld_ros.geometry.cameras import Camera
from gld_ros.metrics.image import (
    PATCH,
    SCALES,
    choose_centres,
    halves_distance,
    laplacian_pyramid,
    patches,
    sliced_wasserstein,
)
from gld_ros.metrics.uncertainty import estimate_ratio
from gld_ros.views import SourceView

WIDTH, HEIGHT, WALL = 64, 48, 3.0
K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])


def wall_view(x):
    """A camera at x metres that looks straight at a painted wall WALL metres away."""
    pose = np.eye(4)
    pose[0, 3] = x
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    u, v = x + (columns - 32) / 60 * WALL, (rows - 24) / 60 * WALL
    paint = np.stack([128 + 90 * np.sin(3 * u + c) * np.cos(4 * v) for c in range(3)], axis=-1)
    depth = np.full((HEIGHT, WIDTH), WALL, np.float32)
    return SourceView(paint.round().astype(np.uint8), Camera(K, pose, WIDTH, HEIGHT), depth=depth)


def wall_scene(name="wall", first=0.0):
    """Two sources, three targets of which the right halves count as unobserved."""
    views = [wall_view(first + 0.3 * k) for k in range(5)]
    unobserved = np.zeros((3, HEIGHT, WIDTH), bool)
    unobserved[:, :, WIDTH // 2 :] = True
    sources = [replace(view, depth=None) for view in views[:2]]
    return AwayScene(Scene(name, "away", sources, None, views[2:], ["2", "3", "4"], "m"), unobserved)


def truth(scene, seed):
    return [Picture(target.image, target.depth) for target in scene.targets]


def lighter(scene, seed):
    """Lighter by 20 grey levels, deeper by 10 %."""
    return [Picture(target.image + np.uint8(20), target.depth * 1.1) for target in scene.targets]


def unlike(sigma):
    """Answers with noise of its own in colours and log depth."""

    def answer(scene, seed):
        rng, found = np.random.default_rng([seed, sum(scene.name.encode())]), []
        for target in scene.targets:
            image = target.image + rng.normal(0, sigma, target.image.shape)
            depth = target.depth * np.exp(rng.normal(0, sigma / 100, target.depth.shape))
            found.append(Picture(image.clip(0, 255).round().astype(np.uint8), depth.astype(np.float32)))
        return found

    return answer


def means(found, samples=2):
    return {name: value["mean"] for name, value in away_figures(found, samples)["figures"].items()}


# One figure each


def test_a_ratio_of_sums_with_its_interval():
    rng = np.random.default_rng(0)
    below = rng.uniform(0.5, 1.5, 400)
    found = estimate_ratio(4 * below + rng.normal(0, 1, 400), below, power=0.5)
    assert found.low < 2 < found.high and found.high - found.low < 0.1
    assert estimate_ratio(np.array([1.0, 1]), np.array([1e-12, 2])).mean == pytest.approx(1)
    assert estimate_ratio(np.array([8.0]), np.array([2.0])).low is None


@pytest.mark.parametrize("samples", [2, 8])
def test_spread_and_error_of_an_honest_and_of_a_boastful_ensemble(samples):
    rng = np.random.default_rng(0)
    middle = rng.normal(0, 5, 100_000)
    real, drawn = middle + rng.normal(size=middle.shape), middle + rng.normal(size=(samples, len(middle)))
    found = spread_and_error("x", drawn, real)
    assert found["x_variance"] / found["x_error"] == pytest.approx(1, abs=0.03)
    timid = spread_and_error("x", middle + (drawn - middle) / 10, real)
    assert timid["x_variance"] / timid["x_error"] < 0.03
    assert spread_and_error("x", drawn[:1], real) == {}


def test_the_pyramid_adds_up_and_patches_stand_where_they_are_asked_for():
    image = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    levels = laplacian_pyramid(image)
    assert [level.shape[:2] for level in levels] == [(37, 50), (19, 25), (10, 13)]
    half = levels[1] + cv2.pyrUp(levels[2], dstsize=(25, 19))
    assert np.allclose(levels[0] + cv2.pyrUp(half, dstsize=(50, 37)), image, atol=1e-3)
    where = np.zeros((37, 50), bool)
    where[:20, 10:] = True
    centres = choose_centres(where, 30)
    for scale, (level, places, sets) in enumerate(zip(levels, centres, patches(image, centres), strict=True)):
        assert 0 < len(places) <= 30 and len(np.unique(places, axis=0)) == len(places)
        assert where[tuple((places * 2**scale).T)].all()
        assert sets.shape == (len(places), PATCH * PATCH * 3)
        row, column = places[-1]
        expected = level[row - 3 : row + 4, column - 3 : column + 4].transpose(2, 0, 1).ravel()
        assert np.allclose(sets[-1], expected, atol=0.1)
    assert all(len(places) == 0 for places in choose_centres(np.zeros((37, 50), bool), 30))


def test_distance_of_patches():
    """A shift of the colours is seen at the coarsest level alone, blur at the finest first."""
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.normal(128, 200, (96, 128, 3)), (1, 1, 0)).clip(0, 235).astype(np.uint8)
    blurred = gaussian_filter(image, (2, 2, 0))
    centres = choose_centres(np.ones((96, 128), bool), 500)
    real, shifted, smooth = (patches(x, centres) for x in (image, image + np.uint8(20), blurred))
    for scale in range(SCALES):
        assert sliced_wasserstein(real[scale], real[scale]) == 0
        assert sliced_wasserstein(real[scale], real[scale][::-1]) == 0  # sets have no order
        assert 0 < halves_distance(real[scale]) < sliced_wasserstein(smooth[scale], real[scale])
    moved = [sliced_wasserstein(a, b) for a, b in zip(shifted, real, strict=True)]
    assert moved[0] < 0.1 and moved[1] < 0.1
    assert moved[2] == pytest.approx(20 * math.sqrt(2 / math.pi), rel=0.2)  # the sum of a unit direction's entries
    assert sliced_wasserstein(smooth[0], real[0]) > sliced_wasserstein(smooth[2], real[2])
    with pytest.raises(ValueError, match="as many of both"):
        sliced_wasserstein(real[0], real[0][:-1])


def test_agreement_of_the_truth_and_of_views_that_contradict_each_other():
    scene = wall_scene()
    cameras, targets = scene.scene.cameras[:2], truth(scene.scene, 0)[:2]
    everywhere = np.ones((2, HEIGHT, WIDTH), bool)
    found = agreement(targets, cameras, everywhere)
    # A shift of .3 m is 6 of 64 pixels.
    assert found["agreement_depth"] < 1e-6 and found["agreement_share"] == pytest.approx(58 / 64)
    assert found["agreement_psnr_db"] > 40
    farther = replace(targets[1], image=targets[1].image + np.uint8(20), depth=targets[1].depth * 1.1)
    found = agreement([targets[0], farther], cameras, everywhere)
    assert found["agreement_depth"] == pytest.approx((0.1 + 0.1 / 1.1) / 2, abs=0.01)
    assert found["agreement_psnr_db"] == pytest.approx(20 * math.log10(255 / 20), abs=0.7)
    assert agreement([targets[0], replace(farther, depth=targets[1].depth * 1.5)], cameras, everywhere) == {}
    assert agreement([targets[0], Picture(farther.image)], cameras, everywhere) == {}


def test_agreement_is_measured_where_both_are_unobserved():
    """Only the right half of the second target is wrong: a mask of the left half must not see it, and the other way."""
    scene = wall_scene()
    cameras, targets = scene.scene.cameras[:2], truth(scene.scene, 0)[:2]
    depth = targets[1].depth.copy()
    depth[:, WIDTH // 2 :] *= 1.1
    pictures = [targets[0], replace(targets[1], depth=depth)]
    left = np.zeros((2, HEIGHT, WIDTH), bool)
    left[:, :, : WIDTH // 2 - 1] = True
    assert agreement(pictures, cameras, left)["agreement_depth"] < 1e-6
    right = np.zeros_like(left)
    right[:, :, WIDTH // 2 :] = True
    assert agreement(pictures, cameras, right)["agreement_depth"] > 0.08
    right[1] = False
    assert agreement(pictures, cameras, right) == {}


# The whole


def test_the_truth_has_the_figures_of_the_truth():
    found = evaluate_away([wall_scene(), wall_scene("other", 2.0)], truth, lighter, samples=2)
    report = away_figures(found, 2)
    figures = means(found)
    assert figures["psnr_db_sample"] == figures["psnr_db_mean"] == figures["psnr_db_best"] > 100
    assert figures["psnr_db_fill"] == pytest.approx(20 * math.log10(255 / 20))
    assert figures["sharpness_sample"] == pytest.approx(1) and figures["sharpness_fill"] == pytest.approx(1)
    assert figures["depth_abs_rel"] == 0 and figures["depth_delta1"] == 1
    assert figures["depth_abs_rel_fill"] == pytest.approx(0.1, abs=1e-3)
    assert figures["agreement_depth"] == figures["agreement_depth_truth"] < 1e-6
    assert report["patch_distance"]["sample"] == [0, 0, 0] == report["patch_distance"]["sample_over_fill"]
    assert report["patch_distance"]["fill"][2] > 10
    assert report["unobserved_share"] == 0.5 and report["targets"] == 6
    assert set(figures) | {"patch_distance"} <= set(report["definitions"])


def test_only_unobserved_pixels_count_and_samples_have_consecutive_seeds():
    asked = []

    def right_where_seen(scene, seed):
        asked.append(seed)
        pictures = lighter(scene, seed)
        for picture, target in zip(pictures, scene.targets, strict=True):
            picture.image[:, WIDTH // 2 :] = target.image[:, WIDTH // 2 :]
            picture.depth[:, WIDTH // 2 :] = target.depth[:, WIDTH // 2 :]
        return pictures

    figures = means(evaluate_away([wall_scene()], right_where_seen, lighter, samples=2, seed=5))
    assert figures["psnr_db_sample"] > 100 and figures["depth_abs_rel"] == 0 and asked == [5, 6]


def test_noise_about_the_truth_is_averaged_away():
    """K samples with noise of one strength: their mean errs 1/K as much, and their spread says more than it errs."""
    scenes = [wall_scene("a"), wall_scene("b", 2.0)]
    figures = means(evaluate_away(scenes, unlike(8), lighter, samples=4), 4)
    assert figures["psnr_db_sample"] == pytest.approx(20 * math.log10(255 / 8), abs=0.2)
    assert figures["psnr_db_mean_minus_sample"] == pytest.approx(10 * math.log10(4), abs=0.2)
    assert figures["spread_skill_color"] == pytest.approx(math.sqrt(5), rel=0.05)
    assert figures["spread_skill_log_depth"] == pytest.approx(math.sqrt(5), rel=0.05)
    assert figures["depth_abs_rel"] < 0.05 and figures["sharpness_sample"] > 1


def test_refused_scenes_are_named_and_one_sample_is_too_few():
    def picky(scene, seed):
        if scene.name == "bad":
            raise NoContext("nothing in view")
        return truth(scene, seed)

    report = away_figures(evaluate_away([wall_scene("bad"), wall_scene("good")], picky, lighter, samples=2), 2)
    assert report["refused"] == [{"scene": "bad", "reason": "nothing in view"}] and report["scenes"] == 1
    with pytest.raises(InvalidRequest, match="1 samples"):
        evaluate_away([wall_scene()], truth, lighter, samples=1)


def test_ctrl_c_is_reported():
    def watch(scene, samples, fill):
        if scene.scene.name == "b":
            raise KeyboardInterrupt

    report = away_figures(evaluate_away([wall_scene("a"), wall_scene("b")], truth, lighter, 2, watch=watch), 2)
    assert report["interrupted"] and report["scenes"] == 1 and report["targets"] == 3


def test_views_without_depth_have_the_other_figures():
    def flat(scene, seed):
        return [Picture(target.image) for target in scene.targets]

    figures = means(evaluate_away([wall_scene()], flat, flat, samples=2))
    assert "psnr_db_mean" in figures and not {"depth_abs_rel", "agreement_depth"} & set(figures)


def test_a_target_that_was_seen_whole_is_left_out():
    scene = wall_scene()
    scene.unobserved[:] = False
    report = away_figures(evaluate_away([scene], truth, lighter, samples=2), 2)
    assert report["figures"] == report["patch_distance"] == {} and report["unobserved_share"] == 0


def test_the_sheet_has_a_row_a_scene(tmp_path):
    sheet = AwaySheet()
    evaluate_away([wall_scene("a"), wall_scene("b")], unlike(8), lighter, samples=3, watch=sheet)
    sheet.write(tmp_path / "away.png")
    one = AwaySheet()
    evaluate_away([wall_scene("a")], unlike(8), lighter, samples=3, watch=one)
    one.write(tmp_path / "one.png")
    with Image.open(tmp_path / "away.png") as two, Image.open(tmp_path / "one.png") as less:
        assert two.width == less.width and two.height > less.height + 100
    AwaySheet().write(tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


# Scenes and the command


def test_scenes_look_away_and_are_repeatable():
    scene, again = (next(away_scenes("val", 1)) for _ in range(2))
    assert len(scene.scene.sources) == 2 and len(scene.scene.targets) == 3
    assert scene.scene.targets[0].image.shape == (144, 192, 3) and scene.scene.targets[0].depth is not None
    assert all(source.depth is None for source in scene.scene.sources)  # the model is not given the true depth
    assert np.array_equal(scene.scene.targets[2].image, again.scene.targets[2].image)
    assert scene.unobserved.shape == (3, 144, 192)
    assert all(0.25 <= where.mean() <= 0.8 for where in scene.unobserved)


def test_unobserved_pixels_are_those_of_the_target_that_they_are_of():
    """Checked by warping the sources with their true depth, another way."""
    scene = next(away_scenes("val", 1))
    posed = with_true_depth(scene.scene.sources, scene.scene.source_depths)
    for camera, where in zip(scene.scene.cameras, scene.unobserved, strict=True):
        seen = depth_warp(posed, camera).seen
        assert (seen == ~where).mean() > 0.93


def test_rooms_whose_targets_see_what_the_sources_see_are_passed_over(monkeypatch):
    real, asked = away.render_look_away, []

    def first_one_near(seeds, *arguments, **options):
        asked.extend(seeds)
        views = real(seeds, *arguments, **options)
        if len(asked) == 1:
            views.c2w[:, 2:], views.depth[:, 2:] = views.c2w[:, :1], views.depth[:, :1]
        return views

    monkeypatch.setattr(away, "render_look_away", first_one_near)
    scene = next(away_scenes("val", 1))
    assert len(asked) > 1 and scene.scene.name == f"away_{asked[-1]}"


def test_the_command(tmp_path, capsys):
    arguments = ["eval", "mini", "--away", "--split", "val", "--scenes", "2", "--samples", "2", "--steps", "1"]
    assert main([*arguments, "--device", "cpu", "--json", "--out", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "report.json").read_text())
    assert printed["model"] == "mini" and printed["scenes"] == 2 and printed["samples"] == 2
    assert printed["settings"]["split"] == "val" and printed["settings"]["away"] and printed["settings"]["steps"] == 1
    assert set(printed["figures"]) | {"patch_distance"} == set(printed["definitions"])
    assert printed["figures"]["psnr_db_mean_minus_fill"]["low"] is not None and printed["seconds_per_view"] > 0
    assert {len(values) for values in printed["patch_distance"].values()} == {3}
    with Image.open(tmp_path / "away.png") as sheet:
        assert sheet.width > 1000
