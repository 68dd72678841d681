"""`gld eval`: figures that mean what they say."""

import json

import numpy as np
import pytest

from gld_ros.cli import main
from gld_ros.data.rooms import TEST_SEED
from gld_ros.evaluation.rooms import SPLITS, evaluate_rooms, held_out_scene, ssim_map
from gld_ros.pipeline import GLDPipeline


def test_ssim_of_itself_is_one_and_of_noise_is_low():
    rng = np.random.default_rng(0)
    image = (np.sin(np.mgrid[:40, :60, :3][1] / 5) * 100 + 120).astype(np.uint8)
    noise = rng.integers(0, 255, image.shape).astype(np.uint8)
    assert ssim_map(image, image).min() == pytest.approx(1)
    assert ssim_map(image, noise).mean() < 0.1
    assert ssim_map(image, noise).shape == (40, 60)


def test_splits_are_held_out():
    assert min(SPLITS.values()) >= TEST_SEED and len(set(SPLITS.values())) == len(SPLITS)


def test_scenes_are_repeatable_and_extrapolation_lies_farther_out():
    a, b = held_out_scene(SPLITS["val"], True), held_out_scene(SPLITS["val"], True)
    assert np.array_equal(a.target.image, b.target.image)
    far = held_out_scene(SPLITS["val"], False)

    def detour(scene):
        (p, q), t = (s.camera.center for s in scene.sources), scene.target.camera.center
        return (np.linalg.norm(p - t) + np.linalg.norm(q - t)) / np.linalg.norm(p - q)

    assert detour(a) < detour(far)


def test_the_report_has_every_figure_and_true_depth_beats_copying():
    report = evaluate_rooms(GLDPipeline.from_pretrained("mini", device="cpu"), "val", 6, steps=1)
    baselines = {"copy_nearest", "own_depth_warp", "own_depth_read_back", "true_depth_warp"}
    assert report["scenes"] == 6 and set(report["baselines"]) == baselines
    for figures in (report, *report["baselines"].values()):
        for part in (figures, figures["observed"], figures["unobserved"]):
            assert {"psnr_db", "ssim", "depth_abs_rel"} <= set(part)
    assert report["baselines"]["true_depth_warp"]["psnr_db"] > report["baselines"]["copy_nearest"]["psnr_db"] + 6


def test_the_command_prints_json(capsys):
    assert main(["eval", "mini", "--split", "val", "--scenes", "2", "--steps", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "mini"
