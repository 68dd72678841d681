# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrated confidence: fits with a known answer, the file beside the weights, samples, novelty, the command."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gld_ros.calibration import LEVELS, RIGHT, Calibration, RegionCalibration
from gld_ros.cli import main
from gld_ros.cli.confidence import print_report
from gld_ros.confidence import combine, novelty, occupancy
from gld_ros.data.room_views import sample_cameras
from gld_ros.data.rooms import random_room
from gld_ros.errors import InvalidRequest, ModelError, NoContext
from gld_ros.evaluation.confidence_fit import Pixels, Rooms, check, conformal_factor, falling_curve, fit
from gld_ros.evaluation.report import reliability_diagram
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import look_at
from gld_ros.metrics.uncertainty import calibration_error, reliability, share_interval
from gld_ros.pipeline import GLDPipeline, SourceView
from gld_ros.views import Scale, View
from gld_ros.weights.hub import resolve
from gld_ros.weights.loading import CALIBRATION, load_calibration
from gld_ros.weights.verification import weights_of

REGION = RegionCalibration((0.01, 0.1, 0.5), (0.95, 0.6, 0.1), (0.7, 1.6, 2.3, 3.0))


# Fits


def laplace_pixels(understated, rooms=400, seed=0, room_effect=0.2):
    """Pixels whose log depth has a Laplace error `understated` times as wide as stated; rooms are better and worse."""
    rng = np.random.default_rng(seed)
    shape = (2 * rooms, 300)
    spread = np.exp(rng.uniform(np.log(0.01), np.log(0.5), shape)).astype(np.float32)
    room = np.repeat(np.arange(rooms), 2)
    luck = np.exp(room_effect * rng.standard_normal(rooms))[room][:, None]
    error = (spread * understated * luck * rng.laplace(size=shape)).astype(np.float32)
    generated = rng.random(shape) < 0.2
    return Pixels(np.full(shape, 3.0, np.float32), error, spread, generated, room, np.zeros(len(room)))


def test_an_honest_model_is_left_as_it_is():
    calibration = fit(laplace_pixels(1.0, room_effect=0), {}, {})
    exact = [-np.log(1 - level) for level in LEVELS]  # quantiles of |error| / spread of a Laplace error
    for region in (calibration.observed, calibration.generated):
        np.testing.assert_allclose(region.factors, exact, rtol=0.05)
    spread = np.geomspace(0.02, 0.4, 20)
    stated = calibration.confidence(spread, np.zeros(20, bool))
    np.testing.assert_allclose(stated, 1 - np.exp(-RIGHT / spread), atol=0.03)
    report = check(laplace_pixels(1.0, seed=1, room_effect=0), None)
    assert report["all"]["ece"] < 0.01 and "coverage" not in report["all"]


@pytest.mark.parametrize("understated", [0.4, 2.5])
def test_a_model_that_is_too_sure_or_too_modest_is_corrected_on_new_rooms(understated):
    before = check(laplace_pixels(understated, seed=1), None)
    after = check(laplace_pixels(understated, seed=1), fit(laplace_pixels(understated), {}, {}))
    for region in ("all", "observed", "generated"):
        assert before[region]["ece"] > 0.1 and after[region]["ece"] < 0.02
        for level in LEVELS:
            assert after[region]["coverage"][str(level)]["share"] == pytest.approx(level, abs=0.02)
        # Errors are symmetric: half of what lies outside the interval is nearer than its lower bound.
        assert after[region]["missed_obstacles"]["share"] == pytest.approx(0.05, abs=0.015)
        assert after[region]["missed_by_0.1m"]["share"] <= after[region]["missed_obstacles"]["share"]


def test_observed_generated_and_native_pixels_have_a_calibration_of_their_own():
    pixels = laplace_pixels(1.0)
    pixels.error[pixels.generated] *= 3
    calibration = fit(pixels, {}, {}, native=laplace_pixels(0.5))
    assert calibration.generated.factors[2] == pytest.approx(3 * calibration.observed.factors[2], rel=0.1)
    assert calibration.native.factors[2] == pytest.approx(0.5 * calibration.observed.factors[2], rel=0.1)
    assert calibration.at_native().observed == calibration.native
    spread, generated = np.full((1, 2), 0.1), np.array([[False, True]])
    sure = calibration.confidence(spread, generated)[0]
    assert sure[0] > sure[1] + 0.2
    reach = calibration.reach(spread, generated, 0.9)[0]
    assert reach == pytest.approx([0.1 * calibration.observed.factors[2], 0.1 * calibration.generated.factors[2]])


def test_bounds_of_generated_pixels_widen_where_the_model_is_trusted_less():
    """0.9 of all is 0.95 of the 0.95 that can be trusted; what would take more than was measured is not known."""
    calibration, spread, generated = Calibration({}, REGION, REGION), np.full((1, 2), 0.1), np.array([[False, True]])
    expected = ((0.9, 1.0, 2.3), (0.9, 0.95, 3.0), (0.8, 0.95, 2.3), (0.5, 0.6, 2.3), (0.9, 0.9, np.nan))
    for level, trust, factor in expected:
        bounds = calibration.reach(spread, generated, level, trust)[0]
        np.testing.assert_allclose(bounds, [0.1 * REGION.factors[LEVELS.index(level)], 0.1 * factor], rtol=1e-6)


def test_a_conformal_factor_counts_one_more_room():
    scores = np.arange(1.0, 101)
    assert conformal_factor(scores, 0.9, 0) == 90
    assert conformal_factor(scores, 0.9, 10) == 99  # 90 % of 110
    assert conformal_factor(scores, 0.9, 12) == np.inf
    with pytest.raises(InvalidRequest, match="too few for coverage 0.95: measure more rooms"):
        fit(laplace_pixels(1.0, rooms=5), {}, {})


def test_the_curve_falls_even_where_the_data_rise():
    spread = np.geomspace(0.01, 1, 1000)
    right = np.arange(1000) % 10 < np.where(np.arange(1000) < 500, 5, 8)  # more right where the spread is larger
    knots, probability = falling_curve(spread, right)
    assert probability == pytest.approx([right.mean()] * len(probability)) and (np.diff(knots) > 0).all()
    knots, probability = falling_curve(spread, np.arange(1000) < 300)
    assert (probability[:3] == 1).all() and (probability[3:] == 0).all() and (np.diff(knots) > 0).all()


def test_reliability_and_shares_of_resampled_rooms():
    stated, right = np.array([0.05, 0.95, 0.95, 1.0]), np.array([False, True, False, True])
    curve = reliability(stated, right)
    assert [row["count"] for row in curve] == [1, 3] and curve[1]["right"] == pytest.approx(2 / 3)
    assert calibration_error(stated, right) == pytest.approx((0.05 + abs(2.9 - 2)) / 4)
    hit = np.repeat([[True], [False]], 50, axis=0).repeat(4, axis=1)
    found = share_interval(hit, np.ones_like(hit), np.arange(100))
    assert found["share"] == 0.5 and 0.38 < found["low"] < 0.45 and 0.55 < found["high"] < 0.62
    assert share_interval(hit, np.ones_like(hit), np.zeros(100))["low"] is None


# The file


def test_a_region_without_pixels_has_no_figures_and_no_fit(tmp_path, capsys):
    pixels = laplace_pixels(1.0, rooms=20)
    seen = replace(pixels, generated=np.zeros_like(pixels.generated))
    report = check(seen, Calibration({}, REGION, REGION))
    reliability_diagram(tmp_path / "diagram.png", report)
    assert report["generated"]["right"] is report["generated"]["missed_obstacles"]["share"] is None
    print_report({"model": "mini", "on": "nothing"} | json.loads(json.dumps(report, allow_nan=False)))
    assert "-" in capsys.readouterr().out.split()
    with pytest.raises(InvalidRequest, match="no generated pixels"):
        fit(seen, {}, {})


@pytest.mark.parametrize("kept", [0, 5, 2000])
def test_kept_pixels_that_are_cut_off_are_named(tmp_path, kept):
    file = tmp_path / "pixels.npz"
    laplace_pixels(1.0, rooms=20).save(file, {})
    assert [path.name for path in tmp_path.iterdir()] == ["pixels.npz"] and Pixels.load(file, {})
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InvalidRequest, match="pixels.npz: no pixels"):
        Pixels.load(file, {})


@pytest.fixture
def folder(tmp_path):
    """A model folder with mini's weights and without a calibration."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(resolve("mini") / name)
    return tmp_path


def test_a_calibration_is_used_if_it_belongs_to_the_weights(folder, scene):
    assert load_calibration(folder) is None
    plain = GLDPipeline.from_pretrained(folder, device="cpu")(scene[:2], [scene[2].camera])[0]
    assert not plain.calibrated and plain.depth_interval() is None
    np.testing.assert_allclose(plain.confidence, 1 - np.exp(-RIGHT / plain.spread), rtol=1e-4)

    native = replace(REGION, factors=(1.0, 2.0, 3.0, 4.0))
    calibration = Calibration(weights_of(folder), REGION, replace(REGION, probability=(0.5, 0.2, 0.1)), native)
    calibration.save(folder / CALIBRATION)
    assert load_calibration(folder) == calibration
    pipe = GLDPipeline.from_pretrained(folder, device="cpu")
    for target, factor in ((scene[2].camera.resized(96, 72), 2.3), (scene[2].camera, 3.0)):  # the second: native
        view = pipe(scene[:2], [target])[0]
        assert view.calibrated and view.confidence[view.generated].max(initial=0) <= 0.5
        assert view.confidence[~view.generated].max() > 0.9
        lower, upper = view.depth_interval(0.9)
        reach = np.log(upper / view.depth)[~view.generated]
        np.testing.assert_allclose(reach, factor * view.spread[~view.generated], rtol=1e-3)
        np.testing.assert_allclose(lower * upper, view.depth**2, rtol=1e-4)
    with pytest.raises(InvalidRequest, match="coverage is 0.99, calibrated are 0.5, 0.8, 0.9, 0.95"):
        view.depth_interval(0.99)


def test_other_weights_are_refused(folder):
    Calibration({"model.safetensors": "0" * 64}, REGION, REGION).save(folder / CALIBRATION)
    with pytest.raises(ModelError, match="measured with other weights than those in the folder"):
        GLDPipeline.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: "{", "not a calibration"),
        (lambda c: "[]", "not a calibration"),
        (lambda c: json.dumps(c | {"extra": 1}), r"unknown fields \['extra'\]"),
        (lambda c: json.dumps({k: v for k, v in c.items() if k != "generated"}), "generated"),
        (lambda c: json.dumps(c | {"observed": c["observed"] | {"spread": [0.1, 0.01, 0.5]}}), "expected rising"),
        (lambda c: json.dumps(c | {"observed": c["observed"] | {"spread": []}}), "0 spreads and 3 probabilities"),
        (lambda c: json.dumps(c | {"observed": c["observed"] | {"probability": [0.1, 0.2, 0.3]}}), "expected falling"),
        (lambda c: json.dumps(c | {"observed": c["observed"] | {"probability": [1.5, 0.2, 0.1]}}), "of 0 to 1"),
        (lambda c: json.dumps(c | {"generated": c["generated"] | {"factors": [1, 2, 3]}}), "expected 4 rising"),
        (lambda c: json.dumps(c | {"generated": c["generated"] | {"factors": ["1", 2, 3, "x"]}}), "not a calibration"),
    ],
)
def test_a_broken_file_is_refused(folder, change, message):
    Calibration(weights_of(folder), REGION, REGION).save(folder / CALIBRATION)
    content = json.loads((folder / CALIBRATION).read_text())
    (folder / CALIBRATION).write_text(change(content))
    with pytest.raises(ModelError, match=message) as error:
        load_calibration(folder)
    assert CALIBRATION in str(error.value)


def test_the_shipped_model_is_calibrated():
    calibration = load_calibration(resolve("mini"))
    assert calibration is not None and calibration.native is not None
    # A middling generated pixel has wider intervals than a middling observed one, and less confidence.
    observed, generated = calibration.observed, calibration.generated
    spreads = [region.spread[len(region.spread) // 2] for region in (observed, generated)]
    for less, more in zip(observed.factors, generated.factors, strict=True):
        assert more * spreads[1] > 2 * less * spreads[0]
    assert max(generated.probability) < sorted(observed.probability)[len(observed.probability) // 2]


# Samples


@pytest.fixture(scope="module")
def pipe():
    return GLDPipeline.from_pretrained("mini", device="cpu")


@pytest.fixture(scope="module")
def scene():
    """Two sources and two targets of a room, 160x120."""
    room = random_room(11)
    K, c2w = sample_cameras(room, np.random.default_rng(5), 160, 120)
    cameras = [Camera(k, p, 160, 120) for k, p in zip(K, c2w, strict=True)]
    images, depths = room.render(cameras)
    return [SourceView(image, camera, stamp=n) for n, (image, camera) in enumerate(zip(images, cameras, strict=True))]


def flat_view(depth, spread, seed=0, grey=100):
    """2x2 pixels of one depth, spread and colour."""
    camera, shape = Camera(np.eye(3), np.eye(4), 2, 2), (2, 2)
    return View(
        camera=camera,
        image=np.full((2, 2, 3), grey, np.uint8),
        depth=np.full(shape, depth, np.float32),
        confidence=np.full(shape, 1 - np.exp(-RIGHT / spread), np.float32),
        generated=np.ones(shape, bool),
        scale=Scale(1.0, "stereo", 0.0),
        model="flat",
        seed=seed,
        spread=np.full(shape, spread, np.float32),
    )


def test_samples_that_agree_change_nothing_and_others_cost_confidence():
    one = flat_view(2.0, 0.1)
    assert combine([one]) is one
    same = combine([one, flat_view(2.0, 0.1, seed=1)])
    np.testing.assert_allclose(same.confidence, one.confidence, rtol=1e-5)
    assert same.samples == 2 and (same.depth_spread == 0).all() and (same.color_spread == 0).all()

    assert same.complete and not combine([one, replace(one, complete=False)]).complete
    apart = combine([one, flat_view(4.0, 0.1, seed=1, grey=151)])
    assert (apart.depth == one.depth).all() and apart.seed == 0
    assert apart.confidence.max() < one.confidence.min() - 0.2
    rng = np.random.default_rng(0)  # the truth is one sample's depth with its error, each as likely
    truth = np.concatenate([np.log(depth) + rng.laplace(0, 0.1, 50_000) for depth in (2.0, 4.0)])
    assert apart.spread[0, 0] == pytest.approx(np.abs(truth - np.log(2)).mean(), rel=0.02)
    assert apart.depth_spread[0, 0] == pytest.approx(np.log(2) / np.sqrt(2), rel=1e-4)
    assert apart.color_spread[0, 0] == pytest.approx(0.2 / np.sqrt(2), rel=1e-4)


def test_occupancy_is_a_probability_along_the_ray():
    view = flat_view(2.0, 0.1)
    np.testing.assert_allclose(occupancy(view, 2.0 / 1.1, 2.0 * 1.1), view.confidence, rtol=1e-4)
    edges = [1e-3, 1.5, 1.9, 2.0, 2.2, 4.0, 1e3]
    cells = [occupancy(view, a, b) for a, b in zip(edges, edges[1:], strict=False)]
    np.testing.assert_allclose(sum(cells), 1, atol=1e-5)
    assert min(cell.min() for cell in cells) >= 0 and occupancy(view, 1e-3, 2.0)[0, 0] == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    truth = 2 * np.exp(rng.laplace(0, 0.1, 100_000))
    assert cells[0][0, 0] == pytest.approx((truth < 1.5).mean(), abs=0.005)


def test_several_samples_of_a_model_are_one_view_each_target(pipe, scene):
    targets, seen = [scene[2].camera.resized(96, 72), scene[3].camera.resized(96, 72)], []
    single = pipe(scene[:2], targets, seed=5)
    joined = pipe(scene[:2], targets, seed=5, samples=3, callback=lambda progress: seen.append(progress.fraction))
    for one, view in zip(single, joined, strict=True):
        assert (view.samples, view.seed) == (3, 5)
        np.testing.assert_array_equal(view.image, one.image)
        np.testing.assert_array_equal(view.depth, one.depth)
        assert view.depth_spread.shape == view.color_spread.shape == view.depth.shape
        # What the sources saw is taken from them, in every sample alike.
        assert view.depth_spread[view.generated].mean() > 0 and (view.depth_spread[~view.generated] == 0).all()
        assert one.samples == 1 and one.depth_spread is None
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1)
    for samples in (0, 65):
        with pytest.raises(InvalidRequest, match=f"{samples} samples, expected 1 to 64"):
            pipe(scene[:2], targets, samples=samples)


# Novelty


def looking(eye, at=(5.0, 0.0, 0.0), depth=None):
    K = np.array([[60.0, 0, 48], [0, 60, 36], [0, 0, 1]])
    camera = Camera(K, look_at(np.array(eye, float), np.array(at, float)), 96, 72)
    return SourceView(np.zeros((72, 96, 3), np.uint8), camera, depth=depth)


def test_novelty_grows_from_a_source_to_where_nothing_was_seen():
    sources = [looking((0, 0, 0)), looking((0, 0.4, 0))]
    ways = {
        "aside": [(0, 0, 0), (0, -0.2, 0), (0, -0.6, 0), (0, -1.5, 0), (0, -4, 0)],
        "ahead": [(0, 0, 0), (0.3, 0, 0), (1.0, 0, 0), (2.0, 0, 0)],
    }
    for way, eyes in ways.items():
        found = [novelty(sources, looking(eye, at=(eye[0] + 5, eye[1], 0)).camera) for eye in eyes]
        assert found[0] == 0 and found == sorted(found), way
    turned = [novelty(sources, looking((0, 0, 0), at=(np.cos(a), np.sin(a), 0)).camera) for a in (0, 0.3, 0.8, 1.5, 3)]
    assert turned == sorted(turned) and turned[-1] == 1
    far = looking((0, -1.5, 0), at=(5, -1.5, 0)).camera
    sensed = [replace(source, depth=np.full((72, 96), 4.0, np.float32)) for source in sources]
    assert novelty(sensed, far) < novelty(sources, far)  # parallax is not what their depth rests on


def test_what_goes_too_far_is_refused_before_anything_is_made(pipe, scene):
    sources, target = scene[:2], scene[2].camera
    found = pipe(sources, [target])[0].novelty
    assert found == novelty(sources, target) and 0 < found < 0.5
    pipe(sources, [target], max_novelty=found)
    with pytest.raises(
        NoContext, match=f"target 1 goes too far .* novelty is 0.{round(100 * found):02d}, at most 0.01"
    ):
        pipe(sources, [sources[0].camera, target], max_novelty=0.01)


@pytest.mark.filterwarnings("ignore:target 0 looks away")
def test_a_target_that_shows_nothing_of_the_sources_is_refused(pipe, scene):
    behind = scene[0].camera.moved(scene[0].camera.c2w @ np.diag([-1.0, 1, -1, 1]))
    with pytest.raises(NoContext, match="target 0: nothing that the sources see is in its picture"):
        pipe(scene[:2], [behind])


# The command


def test_rooms_are_measured_and_kept(tmp_path, capsys):
    command = ["calibrate-confidence", "mini", "--check", "val", "--scenes", "5", "--pixels", str(tmp_path)]
    assert main([*command, "--json", "--plot", str(tmp_path / "plot.png")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["views"] == 10 and report["rooms"] == 5 and report["calibrated"]
    assert report["observed"]["share"] + report["generated"]["share"] == pytest.approx(1)
    assert sum(row["views"] for row in report["by_novelty"]) == 10
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    kept = tmp_path / f"{Rooms('val', 5)}.npz"
    assert kept.is_file()
    assert main(command) == 0  # from the file
    table = capsys.readouterr().out
    assert f"{report['observed']['coverage']['0.9']['share']:.3f}" in table and "missed obstacles" in table
    kept.write_bytes(b"other")
    assert main(command) == 1
    assert "no pixels of gld calibrate-confidence" in capsys.readouterr().err


def test_targets_may_lie_farther_away():
    near, far = (list(rooms.scenes()) for rooms in (Rooms("val", 4), Rooms("val", 4, far=True)))
    assert [len(scene.targets) for scene in far] == [1] * 4
    distance = [np.mean([novelty(s.sources, target) for s in scenes for target in s.cameras]) for scenes in (near, far)]
    assert distance[1] > distance[0] + 0.1


@pytest.mark.parametrize(
    "options, message",
    [
        ("--split test --out x.json", "fits are made on val rooms"),
        ("", "either --out FILE, to fit, or --check SPLIT"),
        ("--out x.json --check test", "either --out FILE, to fit, or --check SPLIT"),
        ("--out x.json --far", "--far and --samples are for --check"),
        ("--check test --scenes 0", "--scenes 0: at least 5"),
    ],
)
def test_what_the_command_refuses(options, message, capsys):
    assert main(["calibrate-confidence", "mini", *options.split()]) == 1
    assert message in capsys.readouterr().err
