# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval`: the same scenes, targets and pixels for every method, and a report that says what was measured."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.models import tiny
from PIL import Image
from scipy.spatial.transform import Rotation

from gld_ros.cli import main
from gld_ros.data.clips import Clip
from gld_ros.data.framing import clip_of
from gld_ros.data.rooms import TEST_SEED
from gld_ros.data.scenes import open_scenes
from gld_ros.data.simulation import Robot
from gld_ros.errors import InvalidRequest, NoContext, ScaleUnknown
from gld_ros.evaluation import scores
from gld_ros.evaluation.methods import Method, Picture, depth_warp, methods_for, with_true_depth
from gld_ros.evaluation.protocol import Protocol, every_scene
from gld_ros.evaluation.report import build_report
from gld_ros.evaluation.scenes import (
    SPLITS,
    Choice,
    choose,
    held_out_scene,
    room_scenes,
    scene_of_clip,
    scenes_of,
    spread,
    unobserved_by_depth,
    windows,
)
from gld_ros.evaluation.scores import picture_figures
from gld_ros.evaluation.sheets import Gallery
from gld_ros.generators.gld_family import GLD
from gld_ros.geometry.alignment import Similarity
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import project, unproject
from gld_ros.geometry.rays import ray_map
from gld_ros.geometry.se3 import look_at
from gld_ros.metrics.geometry import relative_pose_scores, trajectory_errors
from gld_ros.networks.dpt import Geometry
from gld_ros.pipeline import GLDPipeline
from gld_ros.views import SourceView

BASELINES = ("copy_nearest", "own_depth_warp", "own_depth_read_back", "true_depth_warp")


@pytest.fixture(scope="module")
def mini():
    return GLDPipeline.from_pretrained("mini", device="cpu")


def evaluate(pipe, scenes, methods, **options):
    return Protocol(pipe, methods, **options).evaluate(scenes)


def values(found, method, region="all"):
    """Figures of a method, a list of dicts in the order of the scenes."""
    return [scene.rows[method, region] for scene in found.scenes if (method, region) in scene.rows]


# Scenes


def test_scenes_are_held_out_and_repeatable_and_extrapolation_lies_farther_out():
    assert min(SPLITS.values()) >= TEST_SEED and len(set(SPLITS.values())) == len(SPLITS)
    a, b = held_out_scene(SPLITS["val"], True), held_out_scene(SPLITS["val"], True)
    assert np.array_equal(a.targets[0].image, b.targets[0].image)
    # The model is not given the true depth.
    assert all(source.depth is None for source in a.sources)
    assert a.source_depths is not None and a.targets[0].depth is not None
    far = held_out_scene(SPLITS["val"], False)

    def detour(scene):
        (p, q), t = (s.camera.center for s in scene.sources), scene.cameras[0].center
        return (np.linalg.norm(p - t) + np.linalg.norm(q - t)) / np.linalg.norm(p - q)

    assert detour(a) < detour(far)


def test_first_and_last_views_are_given_and_all_between_are_asked_for():
    assert choose(8, 2) == Choice([0, 7], [1, 2, 3, 4, 5, 6])
    assert choose(8, 4).sources == [0, 2, 5, 7]
    assert choose(3, 1) == Choice([0], [1, 2])
    assert choose(3, 3) == Choice([0, 1, 2], [0, 1, 2])  # all are given, and asked for again
    for sources in (0, 9):
        with pytest.raises(InvalidRequest, match="1 to 8"):
            choose(8, sources)


def test_clips_of_a_sequence_share_no_frame():
    assert windows(20, 8, 1) == [list(range(8)), list(range(8, 16))]
    assert windows(5, 8, 1) == [[0, 1, 2, 3, 4]] and windows(20, 4, 7) == [[0, 7, 14]]
    apart = windows(17, 4, 2)
    assert apart[:2] == [[0, 2, 4, 6], [1, 3, 5, 7]] and max(map(max, apart)) < 17
    assert len({frame for clip in apart for frame in clip}) == sum(map(len, apart))
    clips = windows(80, 8, 1)
    assert [clip[0] for clip in spread(clips, 3)] == [0, 32, 72] and spread(clips, None) == spread(clips, 10) == clips


def test_rooms_as_a_data_set_are_not_listed_first():
    scene = next(scenes_of(open_scenes("rooms:test?width=96&height=72"), "rooms", 2, clips=1))
    assert scene.name == "room-1000000000" and len(scene.targets) == 6 and scene.targets[0].depth is not None


def drive(count):
    """A clip of a robot's drive through a held-out room."""
    views = Robot(1_000_000_003, count, 96, 72).views(list(range(count)))
    cameras = [view.camera for view in views]
    return clip_of(np.stack([view.image for view in views]), [view.depth for view in views], cameras, "drive")


def test_holes_of_a_sensor_are_neither_observed_nor_unobserved():
    scene = held_out_scene(SPLITS["val"] + 1, False)
    target = scene.targets[0]
    seen = depth_warp(with_true_depth(scene.sources, scene.source_depths), target.camera).seen
    full = unobserved_by_depth(scene, target, seen)
    assert np.array_equal(full, ~seen) and full.any()
    holed = [depth.copy() for depth in scene.source_depths]
    for depth in holed:
        depth[:, :48] = np.nan
    with_holes = replace(scene, source_depths=holed)
    seen_less = depth_warp(with_true_depth(scene.sources, holed), target.camera).seen
    unobserved = unobserved_by_depth(with_holes, target, seen_less)
    visible = np.zeros(seen.shape, bool)
    for source, depth in zip(scene.sources, scene.source_depths, strict=True):
        pixels, z = project(unproject(target.depth, target.camera), source.camera)
        inside = (pixels >= 0).all(axis=2) & (pixels < [96, 72]).all(axis=2) & (z > 0)
        columns, rows = np.where(inside[..., None], pixels, 0).astype(int).transpose(2, 0, 1)
        visible |= inside & (np.abs(depth[rows, columns] / z - 1) < 0.02)
    assert (~seen_less & visible).sum() > 0.5 * (~seen_less).sum()  # most of what the holes hide was visible
    assert unobserved.sum() > 300 and (unobserved & visible).sum() < 0.01 * unobserved.sum()


# Figures


def test_true_depth_beats_copying_and_every_figure_is_there(mini):
    found = evaluate(mini, room_scenes("val", 4), methods_for(mini, steps=1))
    for method in ("model", *BASELINES):
        for region in ("all", "observed", "unobserved"):
            wanted = {"psnr_db", "ssim", "sharpness", "depth_abs_rel", "depth_delta1", "depth_rmse_scale_shift"}
            assert all(wanted <= set(figures) for figures in values(found, method, region))
    psnr = {method: np.mean([v["psnr_db"] for v in values(found, method)]) for method in ("model", *BASELINES)}
    assert psnr["true_depth_warp"] > psnr["copy_nearest"] + 6
    assert {"depth_ause", "depth_calibration_error", "points_chamfer"} <= set(values(found, "model")[0])
    assert [len(scene.levels) for scene in found.scenes] == [4] * 4
    assert {scene.observed_by for scene in found.scenes} == {"true depth"}


def answer(image_of):
    """A method that answers with image_of(scene, target, seed)."""
    return lambda scene, seed: [Picture(image_of(scene, target, seed)) for target in scene.targets]


def test_regions_of_a_method_that_is_right_where_the_sources_see(mini):
    """A method that answers the truth, black where unobserved: perfect on observed pixels, bad on the others alone."""
    scenes = [held_out_scene(SPLITS["val"] + 1, False)]
    seen = depth_warp(with_true_depth(scenes[0].sources, scenes[0].source_depths), scenes[0].cameras[0]).seen

    def half(scene, target, seed):
        return np.where(seen[..., None], target.image, 0)

    methods = [Method("half", answer(half), "made up")]
    found = evaluate(mini, scenes, methods)
    assert values(found, "half", "observed")[0]["psnr_db"] > 100
    assert values(found, "half", "unobserved")[0]["psnr_db"] < 20
    assert found.scenes[0].shares == pytest.approx((seen.mean(), (~seen).mean()))


def test_best_of_samples_and_their_coverage(mini):
    """Seed 2 answers the truth, others an offset; grey levels then lie between the samples everywhere but at white."""
    scenes = [held_out_scene(SPLITS["val"], True)]

    def noisy(scene, target, seed):
        return target.image if seed == 2 else np.clip(target.image.astype(int) + 10, 0, 255).astype(np.uint8)

    methods = [Method("noisy", answer(noisy), "made up", random=True)]
    figures = values(evaluate(mini, scenes, methods, samples=3), "noisy")[0]
    assert figures["psnr_db_best"] > 100 > figures["psnr_db"] > 28
    assert figures["sample_coverage"] == 1
    one = values(evaluate(mini, scenes, methods, samples=1), "noisy")[0]
    assert "psnr_db_best" not in one and one["psnr_db"] == pytest.approx(28.13, abs=0.5)


def ray_pipe(cameras):
    """Stands for a model whose ray head knows `cameras`, up to a world of its own: another origin, scale, rotation."""
    world = Similarity(0.4, Rotation.from_rotvec([0.5, -1, 0.3]).as_matrix(), np.array([1.0, 2, 3]))
    c2w = torch.tensor(world.poses(np.stack([c.c2w for c in cameras])), dtype=torch.float32)[None]
    K = torch.tensor(np.stack([c.K for c in cameras]), dtype=torch.float32)[None]
    rays = ray_map(K, c2w, 72, 96)
    geometry = Geometry(torch.ones(1, len(cameras), 72, 96), torch.ones(1), rays, torch.ones(rays.shape[:-1]))
    gld = GLD(tiny("da3"))
    gld.net.dpt.forward = lambda features, grid, size: geometry if size == (72, 96) else None
    return GLDPipeline(gld)


def test_poses_estimated_from_rays_are_those_of_the_targets(monkeypatch):
    poses = [look_at(np.array([x, 0.1 * x * x, 1.0]), np.array([3, 0.5, 0.8])) for x in (0, 0.6, 0.1, 0.25, 0.4)]
    K = np.array([[80.0, 0, 48], [0, 80, 36], [0, 0, 1]])
    views = [SourceView(np.zeros((72, 96, 3), np.uint8), Camera(K, c2w, 96, 72)) for c2w in poses]
    pipe = ray_pipe([view.camera for view in views])
    monkeypatch.setattr(scores, "_features", lambda pipe, images, like: ([], (9, 12), (72, 96)))
    assert pipe.generator.has_rays
    found = scores.estimate_poses(pipe, views[:2], [view.image for view in views[2:]])
    errors = trajectory_errors(found, np.stack(poses[2:]))
    assert errors["ate"] < 1e-4 and errors["rpe_rotation_deg"] < 0.01 and errors["rpe_translation"] < 1e-4
    assert relative_pose_scores(found, np.stack(poses[2:]))["auc_30"] == 1


def test_poses_that_a_method_finds_are_scored_and_place_its_cloud():
    """The true views, as a method that finds their poses in a world of its own: without a ray head, too."""
    pipe, scene = GLDPipeline(GLD(tiny("vggt"))), scene_of_clip(drive(5), choose(5, 2), "drive")
    world = Similarity(1.0, Rotation.from_rotvec([0.5, -1, 0.3]).as_matrix(), np.array([1.0, 2, 3]))
    made = [Picture(t.image, t.depth, c2w=world.poses(t.camera.c2w)) for t in scene.targets]
    aside = made[0].c2w + np.pad(np.full((3, 1), 0.5), ((0, 1), (3, 0)))
    off = [replace(made[0], c2w=aside), *made[1:]]
    answers = {"right": made, "off": off, "silent": [replace(picture, c2w=None) for picture in made]}
    methods = [Method(name, lambda scene, seed, views=views: views, "") for name, views in answers.items()]
    found = evaluate(pipe, [scene], methods)
    (right,), (wrong,) = values(found, "right", "poses"), values(found, "off", "poses")
    assert right["auc_30"] == 1 and right["ate"] < 1e-6 and wrong["auc_30"] < 1 and wrong["ate"] > 0.01
    assert not values(found, "silent", "poses") and not values(found, "real_views", "poses")
    chamfer = [values(found, name)[0]["cloud_chamfer"] for name in answers]
    assert chamfer[0] == pytest.approx(chamfer[2]) and chamfer[1] > 2 * chamfer[0]
    assert "imply" in build_report(found, methods, pipe, {"samples": 1})["poses"]


def test_coverage_of_intervals_of_depth_by_a_sensor_with_holes():
    """Bounds 10 % about the answer; the true depths lie 5 % beyond it on the left, 20 % on the right."""
    scene = held_out_scene(SPLITS["val"], True)
    depth = np.full((72, 96), 2.0, np.float32)
    sensed = depth * np.where(np.arange(96) < 24, 1.05, 1.2)
    sensed[:36] = np.nan
    bounds = np.where(np.arange(96) < 72, depth / 1.1, np.nan), np.where(np.arange(96) < 72, depth * 1.1, np.nan)
    real = replace(scene.targets[0], depth=sensed)
    picture = Picture(real.image, depth, None, np.full(depth.shape, 0.5), bounds)
    figures = picture_figures(picture, real, {"all": None, "left": np.arange(96) < np.full((72, 1), 24)}, None)
    assert figures["all"]["depth_coverage_0.9"] == pytest.approx(24 / 72)  # where bounds and true depth are known
    assert figures["left"]["depth_coverage_0.9"] == 1
    assert figures["all"]["depth_width_0.9"] == pytest.approx(1.1 - 1 / 1.1)
    unstated = picture_figures(replace(picture, interval=None), real, {"all": None}, None)["all"]
    assert "depth_ause" in unstated and "depth_coverage_0.9" not in unstated


@pytest.mark.parametrize("refusal", [ScaleUnknown, NoContext])
def test_refused_scenes_are_named_and_scored_for_nobody(mini, refusal):
    scenes = [held_out_scene(SPLITS["val"] + k, True) for k in (0, 1)]

    def picky(scene, seed):
        if scene is scenes[0]:
            raise refusal("no baseline")
        return [Picture(target.image) for target in scene.targets]

    methods = [Method("picky", picky, "made up"), Method("copy", answer(lambda s, t, k: s.sources[0].image), "")]
    found = evaluate(mini, scenes, methods)
    assert found.refused == [(scenes[0].name, "no baseline")]
    assert [scene.name for scene in found.scenes] == [scenes[1].name]


def test_the_loop_names_refusals_and_ctrl_c_leaves_what_is_done():
    def score(name):
        if name in ("bad", "worse"):
            raise NoContext(f"{name}: nothing in view")
        if name == "stop":
            raise KeyboardInterrupt
        return name.upper()

    def run(*names):
        return every_scene(names, score, str, (NoContext,), "test", None)

    found = run("a", "bad", "b", "stop", "c")
    assert found.scenes == ["A", "B"] and found.interrupted
    assert found.refusals() == [{"scene": "bad", "reason": "bad: nothing in view"}]
    assert not run("a").interrupted
    with pytest.raises(InvalidRequest, match="no scene could be evaluated: bad: bad: nothing in view; worse: worse"):
        run("bad", "worse")
    with pytest.raises(KeyboardInterrupt):
        run("bad", "stop")


def test_without_depth_the_models_own_mask_tells_what_is_observed(mini):
    scene = held_out_scene(SPLITS["val"], True)
    blind = replace(scene, source_depths=None, targets=[replace(scene.targets[0], depth=None)])
    found = evaluate(mini, [blind], methods_for(mini, steps=1))
    assert found.scenes[0].observed_by == "the model"
    assert "depth_abs_rel" not in values(found, "model")[0] and values(found, "model", "observed")
    assert not values(found, "true_depth_warp") and not found.scenes[0].missing


def test_a_clip_without_any_depth_is_one_without_depth():
    clip = Clip(torch.rand(3, 3, 8, 8), torch.eye(3).expand(3, 3, 3), torch.eye(4).expand(3, 4, 4))
    assert scene_of_clip(clip, choose(3, 2), "x").source_depths is None
    unknown = replace(clip, depth=torch.full((3, 8, 8), torch.nan))
    assert scene_of_clip(unknown, choose(3, 2), "x").source_depths is None


@pytest.mark.parametrize("family", ["da3", "vggt"])
def test_models_that_generate_all_views_together(family):
    """The released structures, tiny and untrained: every method and figure that they can have."""
    pipe = GLDPipeline(GLD(tiny(family)))
    scene = scene_of_clip(drive(5), choose(5, 2), "drive")
    methods = methods_for(pipe, steps=1, strict_scale=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what is untrained contradicts the poses
        found = evaluate(pipe, [scene], methods)
    assert all(values(found, method, "observed") for method in ("model", *BASELINES))
    assert len(found.scenes[0].levels) == 4
    report = build_report(found, methods, pipe, {"samples": 1})
    if family == "vggt":
        assert "no ray head" in report["poses"] and not values(found, "real_views", "poses")
    else:
        # Untrained rays may be no camera's; then that is said.
        assert values(found, "real_views", "poses") or "real_views" in str(found.scenes[0].pose_failures)


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A robot's drive through a held-out room: 6 frames with depth."""
    folder = tmp_path_factory.mktemp("data") / "drive"
    assert (
        main(["data", "rooms", "--out", str(folder), "--seed", "1000000003", "--frames", "6", "--size", "96x72"]) == 0
    )
    return folder


def test_the_command_on_a_folder(folder, tmp_path, capsys):
    """Report, page, sheet and pictures; the pictures as a peer get the model's figures."""
    first, second = tmp_path / "first", tmp_path / "second"
    arguments = ["eval", "mini", "--data", f"nerfstudio:{folder}", "--views", "5", "--device", "cpu"]
    arguments += ["--steps", "1", "--out"]
    assert main([*arguments, str(first), "--samples", "2", "--save-views"]) == 0
    assert "own_depth_warp" in capsys.readouterr().out
    report = json.loads((first / "report.json").read_text())
    assert report["scenes"] == 1 and report["targets"] == 3 and report["settings"]["samples"] == 2
    assert report["versions"]["git"] and report["observed_by"] == {"true depth": 1}
    assert report["notices"][0].startswith("LPIPS is left out")
    assert report["notices"][1].startswith("MEt3R-style consistency is left out")
    model = report["methods"]["model"]
    assert {"ate", "rpe_rotation_deg", "rpe_translation", "rra_30", "rta_30", "auc_30"} == set(model["poses"])
    assert {"psnr_db_best", "sample_ause", "sample_coverage", "points_chamfer"} <= set(model["all"])
    chamfer = [methods["all"]["cloud_chamfer"]["mean"] for methods in (model, report["methods"]["true_depth_warp"])]
    assert 0 < chamfer[1] < 0.5 * chamfer[0] and model["all"]["cloud_chamfer_percent"]["mean"] < 100
    assert 0 < model["all"]["depth_coverage_0.9"]["mean"] <= 1  # of real data, too, where a sensor has depth
    assert set(report["methods"]["real_views"]) == {"note", "poses"}
    assert len(report["levels_pck"]["levels"]) == 4
    page = (first / "report.html").read_text()
    assert "data:image/png;base64," in page and "own_depth_read_back" in page and "src='http" not in page
    with Image.open(first / "sheet_0.png") as sheet:
        assert sheet.width > 500
    scene = next((first / "views" / "model").iterdir())
    (scene / "002.png").rename(scene / "gone")
    assert main([*arguments, str(second), "--peer", f"ours={first / 'views' / 'model'}"]) == 0
    report = json.loads((second / "report.json").read_text())
    assert report["missing"] == [f"ours: {scene.name}/002"]
    assert "all" not in report["methods"]["ours"] and not report["model_minus"]["ours"]  # others of its targets remain
    (scene / "gone").rename(scene / "002.png")
    cloud = report["methods"]["model"]["all"]["cloud_chamfer"]
    assert main([*arguments, str(second), "--peer", f"ours={first / 'views' / 'model'}", "--official-scale"]) == 0
    report = json.loads((second / "report.json").read_text())
    assert report["methods"]["ours"]["all"]["psnr_db"] == report["methods"]["model"]["all"]["psnr_db"]
    assert report["methods"]["model"]["all"]["cloud_chamfer"] != cloud  # another scale
    assert report["model_minus"]["ours"]["all"]["depth_abs_rel"]["mean"] == 0
    assert report["model_minus"]["copy_nearest"]["all"]["psnr_db"]["count"] == 1


def test_a_split_says_which_frames(folder, tmp_path, capsys):
    name = folder.name
    index = tmp_path / "index.json"
    index.write_text(
        json.dumps({name: {"context": [1, 4], "target": [2]}, "elsewhere": {"context": [0], "target": [1]}})
    )
    arguments = ["eval", "mini", "--data", f"nerfstudio:{folder}", "--device", "cpu", "--json", "--split", str(index)]
    arguments += ["--steps", "1"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--save-views"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["targets"] == 1 and list(report["skipped"]) == ["elsewhere"]
    assert [path.stem for path in (tmp_path / "out" / "views" / "model" / name).glob("*.png")] == ["002"]


def test_scenes_of_one_name_stay_apart_and_ctrl_c_is_reported(folder, tmp_path, capsys, monkeypatch):
    for name in ("a", "b", "c"):
        shutil.copytree(folder, tmp_path / name / "drive")
    a, b, c = (["--data", f"nerfstudio:{tmp_path / name / 'drive'}"] for name in ("a", "b", "c"))
    arguments = ["eval", "mini", "--device", "cpu", "--steps", "1", "--views", "3", "--clips", "1", "--json", *a, *b]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["scenes"] == report["model_minus"]["copy_nearest"]["all"]["psnr_db"]["count"] == 2
    assert main([*arguments, *c]) == 1
    assert "drive_drive was there before" in capsys.readouterr().err

    def watch(gallery, scene, pictures, unobserved):
        if scene.name == "drive_drive":
            raise KeyboardInterrupt

    monkeypatch.setattr(Gallery, "__call__", watch)
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 130
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["scenes"] == 1 and report["notices"][-1] == "interrupted after 1 scenes"


def test_a_truncated_image_and_an_empty_split_are_named(folder, tmp_path, caplog, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    image = broken / "images" / "003.png"
    image.write_bytes(image.read_bytes()[:1000])
    arguments = ["eval", "mini", "--device", "cpu", "--steps", "1", "--json", "--data"]
    assert main([*arguments, f"nerfstudio:{broken}"]) == 1
    assert "no scene could be evaluated" in capsys.readouterr().err and "003.png" in caplog.text
    both = [*arguments, f"nerfstudio:{broken}", "--data", f"nerfstudio:{folder}"]
    assert main(both) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["scenes"] == 1 and "003.png" in report["skipped"]["broken"]
    (tmp_path / "empty.json").write_text("{}")
    assert main([*both, "--split", str(tmp_path / "empty.json")]) == 1
    assert "empty split" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "train"], "splits are test, val"),
        (["--sources", "3"], "with 2 sources"),
        (["--samples", "0", "--scenes", "1"], "0 samples"),
        (["--scenes", "0"], "--scenes is 0, expected at least 1"),
        (["--gap", "0"], "--gap is 0, expected at least 1"),
        *((arguments, f"{arguments[0]}: without --data") for arguments in (["--views", "8"], ["--size", "96x72"])),
        (["--peer", "nothing"], "NAME=FOLDER"),
        (["--against", "other=mini@few"], "few steps"),
        (["--peer", "other=/nowhere"], "no such folder"),
        (["--lpips", "/nowhere"], "LPIPS needs"),
        (["--dino", "/nowhere.pth"], "/nowhere.pth: missing"),
        (["--save-views"], "--out"),
        (["--data", "nerfstudio:/nowhere"], "/nowhere"),
        (["--away", "--data", "rooms:test"], "--data does not go together with --away"),
        (["--away", "--against", "other=mini"], "--against does not"),
        (["--away", "--sources", "3"], "--sources does not"),
        (["--away", "--save-views", "--out", "out"], "--save-views does not"),
        (["--away", "--split", "train"], "are test, val"),
        (["--away", "--scenes", "0"], "--scenes is 0, expected at least 1"),
        (["--away", "--samples", "1"], "1 samples"),
    ],
)
def test_bad_arguments_are_named(arguments, message, capsys):
    assert main(["eval", "mini", "--device", "cpu", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_bad_size_is_an_error_of_usage(capsys):
    assert main(["eval", "mini", "--data", "nerfstudio:.", "--size", "big"]) == 2
    assert "WIDTHxHEIGHT is expected" in capsys.readouterr().err


def test_the_command_prints_json(capsys):
    arguments = ["eval", "mini", "--split", "val", "--scenes", "2", "--steps", "1", "--json"]
    assert main([*arguments, "--against", "again=mini@1", "--against", "slow=mini@2"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model_minus"]["again"]["all"]["psnr_db"]["mean"] == 0
    assert report["model_minus"]["slow"]["all"]["psnr_db"]["mean"] != 0
    assert report["model"] == "mini" and set(report["groups"]) == {"interpolation", "extrapolation"}
    assert report["settings"]["split"] == "val" and report["refused"] == []
