# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pipeline on the shipped model: contract, scale, bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from gld_ros.data.room_views import render_scenes, sample_cameras
from gld_ros.data.rooms import TEST_SEED, random_room
from gld_ros.errors import Cancelled, InvalidRequest, ModelError, ScaleUnknown
from gld_ros.generators.gld_setup import working_size
from gld_ros.generators.scale import consistent_scale
from gld_ros.geometry.cameras import Camera, RelativeFrame
from gld_ros.networks.configs import ModelConfig
from gld_ros.pipeline import GLDPipeline, SourceView
from gld_ros.pipeline.pipeline import made_up_views


@pytest.fixture(scope="module")
def pipe():
    return GLDPipeline.from_pretrained("mini", device="cpu")


@pytest.fixture(scope="module")
def scene():
    """Two sources and two targets (with truth) of a room, 160x120."""
    room = random_room(11)
    K, c2w = sample_cameras(room, np.random.default_rng(5), 160, 120)
    cameras = [Camera(k, p, 160, 120) for k, p in zip(K, c2w, strict=True)]
    images, depth = room.render(cameras)
    return [SourceView(i, c, stamp=n, depth=d) for n, (i, c, d) in enumerate(zip(images, cameras, depth, strict=True))]


def blind(views):
    """The same sources without a depth sensor."""
    return [replace(v, depth=None) for v in views]


def moved(view: SourceView, matrix: np.ndarray, scale: float = 1.0) -> SourceView:
    c2w = view.camera.c2w.copy()
    c2w[:3, 3] *= scale
    return replace(view, camera=view.camera.moved(matrix @ c2w))


def test_views_have_the_size_of_their_targets_and_say_where_they_come_from(pipe, scene):
    target = scene[2].camera.resized(200, 90)
    view = pipe(blind(scene[:2]), [target], seed=3)[0]
    assert view.image.shape == (90, 200, 3) and view.image.dtype == np.uint8
    assert view.depth.shape == view.confidence.shape == view.generated.shape == (90, 200)
    assert view.depth.dtype == np.float32 and view.generated.dtype == bool
    assert 0 <= view.confidence.min() and view.confidence.max() <= 1
    assert (view.model, view.seed, view.source_stamps) == ("mini", 3, (0, 1))
    assert view.scale.method == "stereo" and view.scale.value > 0


def test_a_view_between_the_sources_is_mostly_seen_and_close_to_the_truth(pipe, scene):
    view = pipe(blind(scene[:2]), [scene[2].camera])[0]
    error = ((view.image / 255.0 - scene[2].image / 255.0) ** 2).mean()
    copy = ((scene[0].image / 255.0 - scene[2].image / 255.0) ** 2).mean()
    assert view.generated.mean() < 0.3 and error < copy / 2
    assert np.nanmedian(np.abs(view.depth / scene[2].depth - 1)) < 0.15


def test_same_seed_same_view_other_seed_other_view(pipe, scene):
    a, b, c = (pipe(blind(scene[:2]), [scene[3].camera], seed=s)[0].image for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_world_moved_far_away_changes_nothing(pipe, scene):
    far = np.eye(4)
    far[:3, 3] = (4.2e5, 5.1e6, 30)  # UTM
    near = pipe(blind(scene[:2]), [scene[2].camera])[0]
    away = pipe([moved(v, far) for v in blind(scene[:2])], [moved(scene[2], far).camera])[0]
    assert np.abs(near.depth - away.depth).max() < 1e-2
    assert np.abs(near.image.astype(int) - away.image).mean() < 0.5


def test_world_scaled_scales_depth_and_nothing_else(pipe, scene):
    one = pipe(blind(scene[:2]), [scene[2].camera])[0]
    ten = pipe([moved(v, np.eye(4), 10) for v in blind(scene[:2])], [moved(scene[2], np.eye(4), 10).camera])[0]
    assert np.allclose(ten.depth, 10 * one.depth, rtol=0.02)
    assert ten.scale.value == pytest.approx(10 * one.scale.value, rel=1e-3)


def test_a_depth_sensor_gives_the_scale_even_of_one_source(pipe, scene):
    view = pipe([scene[0]], [scene[2].camera])[0]
    assert view.scale.method == "depth"
    seen = ~view.generated
    assert np.median(np.abs(view.depth / scene[2].depth - 1)[seen]) < 0.03


def test_what_a_depth_sensor_did_not_measure_is_unknown(pipe, scene):
    left = np.arange(scene[0].depth.shape[1]) < 20
    holes = [
        [replace(view, depth=np.where(left, np.float32(hole), view.depth)) for view in scene[:2]]
        for hole in (np.nan, np.inf, 0, -1)
    ]
    expected, *others = (pipe(sources, [scene[2].camera])[0] for sources in holes)
    for view in others:
        np.testing.assert_array_equal(view.depth, expected.depth)
        np.testing.assert_array_equal(view.generated, expected.generated)
        assert view.novelty == expected.novelty
    millimetres = replace(scene[0], depth=(1000 * scene[0].depth).astype(np.uint16))
    with pytest.raises(InvalidRequest, match="source 0: depth is uint16, expected floating-point metres"):
        pipe([millimetres], [scene[2].camera])


@pytest.mark.parametrize("turn", [0.7, -0.9, 1.05, -1.05])
@pytest.mark.parametrize("size", [(1280, 720), (1241, 376)])
def test_wide_cameras_that_turn_away_are_answered(pipe, size, turn):
    sources, (target,) = made_up_views(2, 1, size[::-1])
    c2w = target.c2w.copy()
    c2w[:3, :3] = c2w[:3, :3] @ Rotation.from_rotvec([0, turn, 0]).as_matrix()
    (view,) = pipe(sources, [target.moved(c2w)], preset="fast")
    assert np.isfinite(view.depth).all() and np.isfinite(view.confidence).all() and view.generated.any()


def test_scale_unknown_without_baseline(pipe, scene):
    with pytest.raises(ScaleUnknown, match="0.01 m apart"):
        pipe(blind([scene[0], scene[0]]), [scene[2].camera])
    with pytest.raises(ScaleUnknown, match="1 source"):
        pipe(blind([scene[0]]), [scene[2].camera])


def test_progress_counts_up_to_one_and_the_callback_may_stop_it(pipe, scene):
    seen = []
    pipe(blind(scene[:2]), [scene[2].camera, scene[3].camera], steps=2, callback=seen.append)
    fractions = [p.fraction for p in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert [p.stage for p in seen[:6]] == ["encode", "level1", "level1", "level0", "level0", "decode"]
    assert seen[1].preview.shape[2] == 3 and seen[1].preview.dtype == np.uint8

    def stop(progress):
        if progress.stage == "level0":
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        pipe(blind(scene[:2]), [scene[2].camera], callback=stop)


def test_more_sources_and_other_aspects(pipe, scene):
    tall = [replace(v, image=v.image[:, 40:110].copy(), camera=v.camera.cropped(40, 0, 70, 120)) for v in blind(scene)]
    view = pipe(tall[:2] + tall[3:], [tall[2].camera])[0]
    assert view.image.shape == (120, 70, 3)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda s, t: ([], t), "0 source views"),
        (lambda s, t: (s * 3, t), "6 source views, expected 1 to 4"),
        (lambda s, t: (s, []), "no target"),
        (lambda s, t: ([s[0], replace(s[1], image=s[1].image[:50])], t), "source 1: image"),
        (lambda s, t: ([s[0], replace(s[1], image=s[1].image / 255)], t), "source 1: image is float64"),
        (lambda s, t: (s, [t[0], replace(t[0], K=np.zeros((3, 3)))]), "target 1: K"),
        (lambda s, t: (s, [t[0].moved(np.full((4, 4), np.nan))]), "target 0: pose"),
        (lambda s, t: (s, [t[0].moved(np.diag([1.0, 1, -1, 1]))]), "left-handed"),
    ],
)
def test_bad_requests_are_named(pipe, scene, break_it, message):
    with pytest.raises(InvalidRequest, match=message):
        pipe(*break_it(blind(scene[:2]), [scene[2].camera]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": "gpu"}, "device is 'gpu', expected cpu, cuda"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"dtype": "half"}, "dtype is 'half', expected"),
        ({"dtype": torch.float16}, "dtype is 'torch.float16', expected"),
        ({"offload": "disk"}, "offload is 'disk', expected"),
    ],
)
def test_what_cannot_be_loaded_is_said_before_anything_is_downloaded(given, message):
    with pytest.raises(ModelError, match=message):
        GLDPipeline.from_pretrained("gld-da3", **given)


def test_working_size_keeps_the_aspect_within_the_budget():
    for width, height in ((640, 480), (360, 640), (640, 193), (100, 100), (4000, 100)):
        h, w = working_size(Camera(np.eye(3), np.eye(4), width, height), ModelConfig())
        assert h % 8 == w % 8 == 0 and 60 <= h * w / 64 <= 140
        if width < 5 * height:
            assert 0.75 < (w / h) / (width / height) < 1.35


def test_relative_frame_starts_at_the_first_source_and_has_unit_baseline():
    poses = np.eye(4)[None].repeat(2, 0)
    poses[:, 0, 3] = (1e6, 1e6 + 4)
    frame = RelativeFrame([Camera(np.eye(3), p, 8, 8) for p in poses])
    assert frame.baseline == 4
    assert [frame.relative(p)[0, 3] for p in poses] == [0, 1]


def test_consistent_scale_is_where_the_views_surfaces_meet():
    rooms = render_scenes([TEST_SEED + 5])
    depth, K, c2w = rooms.depth[:, :3], rooms.K[:, :3], rooms.c2w[:, :3]
    value, residual = consistent_scale(depth / 7, K, c2w)
    assert value == pytest.approx(7, rel=0.02)
    assert residual < 0.02
    moved = c2w.clone()
    moved[..., :3, 3] *= 3
    assert consistent_scale(depth / 7, K, moved)[0] == pytest.approx(21, rel=0.02)
    wrong = c2w.clone()
    wrong[:, 1, :3, :3] = wrong[:, 1, :3, :3] @ torch.tensor([[0.94, 0, 0.34], [0, 1, 0], [-0.34, 0, 0.94]])
    assert consistent_scale(depth / 7, K, wrong)[1] > 0.1
