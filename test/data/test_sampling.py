# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Clips, view sampling, crops and split files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from builders import datasets
from builders.datasets import rendered

from gld_ros.data.clips import Clip, collate
from gld_ros.data.framing import RELEASED_SIZES, window
from gld_ros.data.sampling import ViewSampling, camera_path
from gld_ros.data.scenes import Skipped, open_scenes
from gld_ros.data.splits import Entry, read_split
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import project, unproject


@pytest.fixture(scope="module")
def drive():
    """80 frames of a robot's drive."""
    return open_scenes("rooms:0-1?frames=80&width=160&height=120").frames(0)


def test_intervals_are_those_permitted(drive):
    sampling = ViewSampling(views=4, sources=(1, 3), min_interval=2, max_interval=9)
    intervals, starts, counts = set(), set(), set()
    for seed in range(300):
        views, sources = sampling.draw(drive, seed)
        assert views == sorted(views[:sources]) + sorted(views[sources:])
        gaps = np.diff(sorted(views))
        assert len(set(gaps)) == 1 and min(views) >= 0 and max(views) < 80
        intervals.add(int(gaps[0]))
        starts.add(min(views))
        counts.add(sources)
    assert intervals == set(range(2, 10)) and counts == {1, 2, 3} and 0 in starts and max(starts) > 60
    assert sampling.draw(drive, 7) == sampling.draw(drive, 7)


def test_a_short_scene_gives_shorter_intervals_or_none(drive):
    sampling = ViewSampling(views=4, min_interval=3, max_interval=25, sources=(1, 1))
    spans = {max(views) - min(views) for views, _ in (sampling.draw(drive[:14], seed) for seed in range(50))}
    assert spans == {9, 12}
    with pytest.raises(InvalidRequest, match="9 frames is too short for 4 views, 3 or more frames apart"):
        sampling.draw(drive[:9], 0)


@pytest.mark.parametrize(("count", "expected"), ((1, [0]), (2, [0, 7]), (3, [0, 4, 7]), (4, [0, 2, 5, 7])))
def test_sources_at_evaluation_reach_from_the_first_to_the_last(drive, count, expected):
    sampling = ViewSampling(sources=(count, count), order="ends", min_interval=1, max_interval=1)
    views, sources = sampling.draw(drive, 3)
    assert sources == count and [view - min(views) for view in views[:count]] == expected
    assert sorted(views) == list(range(min(views), min(views) + 8))


def test_every_view_can_be_a_source_in_training_and_only_the_first_where_asked(drive):
    places: set[int] = set()
    for seed in range(60):
        views, _ = ViewSampling(sources=(2, 2)).draw(drive, seed)
        places |= {sorted(views).index(view) for view in views[:2]}
    assert places == set(range(8))
    views, _ = ViewSampling(sources=(3, 3), order="first").draw(drive, 1)
    assert views == sorted(views)


def test_motion_sets_the_distance_of_views(drive):
    sampling = ViewSampling(views=5, motion=(0.3, 0.5))
    path = camera_path([frame.camera for frame in drive])
    for seed in range(20):
        steps = np.diff(path[sorted(sampling.draw(drive, seed)[0])])
        assert 0.15 < steps.min() and steps.max() < 0.7 and 0.27 < steps.mean() < 0.53
    with pytest.raises(InvalidRequest, match="the camera moves .* in all, 8 views need 70"):
        ViewSampling(motion=(10, 20)).draw(drive, 0)
    with pytest.raises(InvalidRequest, match="too few frames for steps"):
        ViewSampling(motion=(0.001, 0.002)).draw(drive, 0)


def test_a_turn_counts_as_motion():
    cameras = [rendered()[0].camera.moved(pose) for pose in (np.eye(4), quarter_turn(), quarter_turn())]
    np.testing.assert_allclose(camera_path(cameras, radian=2), [0, np.pi, np.pi])


def quarter_turn():
    return np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("permitted", ((0.2, 0.45), (0.7, 0.9)))
def test_overlap_sets_how_much_the_last_view_sees(drive, permitted):
    sampling = ViewSampling(views=3, sources=(1, 2), overlap=permitted, max_interval=20)
    shares = []
    for seed in range(12):
        try:
            views, _ = sampling.draw(drive, seed)
        except InvalidRequest as error:  # some places have no such pair
            assert "overlaps" in str(error)
            continue
        first, last = drive[min(views)], drive[max(views)]
        pixels, depth = project(unproject(first.read_depth(), first.camera), last.camera)
        shares.append(((pixels > 0) & (pixels < (160, 120))).all(-1)[depth > 0].sum() / depth.size)
    assert len(shares) > 3 and permitted[0] - 0.05 < min(shares) and max(shares) < permitted[1] + 0.05


def test_overlap_needs_depth(tmp_path):
    frames = datasets.as_re10k(tmp_path).frames(0)
    with pytest.raises(InvalidRequest, match="has no depth; `distance`, a typical one"):
        ViewSampling(views=3, sources=(1, 1), overlap=(0, 1)).draw(frames, 0)
    ViewSampling(views=3, sources=(1, 1), overlap=(0, 1), distance=3.0).draw(frames, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    (
        ({"order": "last"}, "order 'last'"),
        ({"views": 4, "sources": (1, 4)}, r"\(1, 4\) sources of 4 views"),
        ({"sources": (0, 2)}, "at least one of each"),
        ({"min_interval": 5, "max_interval": 4}, "intervals 5..4"),
        ({"motion": (1, 2), "overlap": (0, 1)}, "one is expected"),
    ),
)
def test_samplings_that_make_no_sense(fields, message):
    with pytest.raises(InvalidRequest, match=message):
        ViewSampling(**fields)


@pytest.mark.parametrize("size", RELEASED_SIZES)
@pytest.mark.parametrize("centre", ((320, 240), (300.4, 255.5), (40, 400)))
def test_windows_are_centred_on_the_principal_point_and_as_large_as_they_can_be(size, centre):
    camera = Camera(np.array([[500, 0, centre[0]], [0, 480, centre[1]], [0, 0, 1.0]]), np.eye(4), 640, 480)
    crop = window(camera, *size)
    np.testing.assert_allclose(crop.K[:2, 2], (crop.width / 2, crop.height / 2), atol=1)
    assert abs(crop.width / crop.height / (size[0] / size[1]) - 1) < 0.015
    reach = min(centre[0], 640 - centre[0]) * 2 - crop.width, min(centre[1], 480 - centre[1]) * 2 - crop.height
    assert min(np.abs(reach)) <= 1 and min(reach) >= -1
    # K follows: a ray keeps its place in the picture.
    small = crop.resized(*size)
    ray = np.array([0.05, -0.03, 1])
    before, after = camera.K @ ray, small.K @ ray
    offset = camera.K[:2, 2] - crop.K[:2, 2]
    np.testing.assert_allclose((before[:2] - offset) / (crop.width, crop.height), after[:2] / size)


def test_no_window_without_the_principal_point():
    camera = Camera(np.array([[500, 0, -3], [0, 480, 200], [0, 0, 1.0]]), np.eye(4), 640, 480)
    with pytest.raises(InvalidRequest, match=r"left: the principal point \(-3.0, 200.0\) lies outside the 640x480"):
        window(camera, 504, 504, "left")


def make_clip(views=3, size=(8, 6), depth=False, **fields):
    images = torch.rand(views, 3, size[1], size[0])
    K = torch.tensor([[5.0, 0, 4], [0, 5, 3], [0, 0, 1]]).repeat(views, 1, 1)
    measured = torch.ones(views, size[1], size[0]) if depth else None
    return Clip(images, K, torch.eye(4).repeat(views, 1, 1), measured, **fields)


def test_batches():
    batch = collate([make_clip(name="a"), make_clip(name="b", depth=True)])
    assert batch.images.shape == (2, 3, 3, 6, 8) and batch.names == ["a", "b"] and len(batch) == 2
    assert batch.K.shape == (2, 3, 3, 3) and batch.c2w.shape == (2, 3, 4, 4) and batch.sources is None
    assert batch.depth is not None and batch.depth[0].isnan().all() and (batch.depth[1] == 1).all()
    assert collate([make_clip(sources=2)]).sources == 2 and collate([make_clip()]).depth is None
    moved = batch.to("meta")
    assert {value.device.type for value in (moved.images, moved.K, moved.c2w, moved.depth)} == {"meta"}
    for other, message in (
        (make_clip(name="b", size=(4, 4)), r"b: images \(3, 3, 4, 4\) in a batch with \(3, 3, 6, 8\) of a"),
        (make_clip(name="b", views=2), "one size and one number of views"),
        (make_clip(name="b", sources=1), "b: 1 sources in a batch with None"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            collate([make_clip(name="a"), other])
    with pytest.raises(InvalidRequest, match="no clips"):
        collate([])


def broken(field, value):
    clip = make_clip(name="a")
    getattr(clip, field)[1] = value
    return clip


@pytest.mark.parametrize(
    ("clip", "message"),
    (
        (broken("images", 1.5), "a: images are not within 0..1"),
        (broken("c2w", torch.nan), "a: c2w holds NaN"),
        (broken("c2w", torch.eye(4) * 2), "a: a pose is no rotation"),
        (broken("K", -torch.eye(3)), "a: a focal length is not above 0"),
        (Clip(torch.zeros(2, 3, 4, 4).double(), torch.eye(3), torch.eye(4), name="a"), "a: images is torch.float64"),
        (Clip(torch.zeros(2, 3, 4, 4), torch.eye(3), torch.eye(4), name="a"), r"a: K is .* \(2, 3, 3\) is expected"),
    ),
)
def test_bad_clips(clip, message):
    with pytest.raises(InvalidRequest, match=message):
        clip.check()


def test_views_of_a_clip():
    clip = make_clip(depth=True, name="a", sources=2)
    part = clip.views([2, 0])
    assert torch.equal(part.images, clip.images[[2, 0]]) and len(part) == 2 and part.depth.shape == (2, 6, 8)
    assert part.sources is None and part.size == (8, 6)


def test_split_files(tmp_path):
    index = {"a": {"context": [3, 9], "target": [4, 5]}, "b": None}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert read_split(tmp_path / "index.json") == [Entry("a", (3, 9), (4, 5))]
    (tmp_path / "names.json").write_text('["a", "b"]')
    (tmp_path / "names.txt").write_text("# DL3DV\n1K/abc\n\n  2K/def \n")
    (tmp_path / "meta.csv").write_text("number,hash,batch\n1,abc,1K\n2,def,2K\n")
    for name, expected in (
        ("names.json", ["a", "b"]),
        ("names.txt", ["1K/abc", "2K/def"]),
        ("meta.csv", ["abc", "def"]),
    ):
        assert [entry.scene for entry in read_split(tmp_path / name)] == expected
    for content, message in (
        ("{", "bad.json: not valid JSON"),
        ("3", "a list of names, or an object"),
        ('{"a": {"context": [1]}}', "a: {context: .*} or null is expected"),
        ('{"a": null}', "bad.json: an empty split"),
        ("[]", "an empty split"),
    ):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InvalidRequest, match=message):
            read_split(tmp_path / "bad.json")
    with pytest.raises(InvalidRequest, match="none.json: cannot be read"):
        read_split(tmp_path / "none.json")


def test_the_published_index(real_data):
    entries = read_split(real_data("eval_index") / "evaluation_index_re10k.json")
    assert len(entries) == 6474 and {(len(e.context), len(e.target)) for e in entries} == {(2, 3)}
    assert entries[0] == Entry("5aca87f95a9412c6", (58, 133), (84, 102, 129))


def test_skipped_scenes_are_named_once_and_by_all_processes(tmp_path, caplog):
    here, there = Skipped(tmp_path / "skipped.jsonl"), Skipped(tmp_path / "skipped.jsonl")
    for _ in range(3):
        here.add("a", "no poses")
    there.add("b", "truncated")
    assert here.scenes == there.scenes | {"a": "no poses"} == {"a": "no poses", "b": "truncated"}
    assert len(here) == 2 and str(here).splitlines() == ["skipped 2 scenes:", "  a: no poses", "  b: truncated"]
    assert [record.getMessage() for record in caplog.records] == ["skipped a: no poses", "skipped b: truncated"]
    assert str(Skipped()) == "skipped 0 scenes"


def test_the_number_of_sources_says_nothing_of_the_interval(drive):
    sampling = ViewSampling(views=3, sources=(1, 2), max_interval=10)
    drawn = np.array([[np.ptp(views), count] for views, count in (sampling.draw(drive, k) for k in range(400))])
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.15
