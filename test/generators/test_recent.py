# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sources of recent requests are not encoded again, and only they."""

import dataclasses

import numpy as np
import pytest
from builders.official_folder import small_config

from gld_ros.benchmarks.requests import Shape, wall_request, write_random_model
from gld_ros.generators.request import Recent, fingerprint
from gld_ros.pipeline.pipeline import GLDPipeline


@pytest.fixture(scope="module")
def pipe():
    return GLDPipeline.from_pretrained("mini", device="cpu")


@pytest.fixture
def request_():
    return wall_request(Shape(2, 1, (48, 64)))


def test_the_same_sources_are_prepared_once_and_give_the_same_views(pipe, request_, monkeypatch):
    sources, targets = request_
    pipe.forget()
    prepared = []
    original = pipe.generator.encode
    monkeypatch.setattr(pipe.generator, "encode", lambda *args: prepared.append(1) or original(*args))
    (first,) = pipe(sources, targets)
    (again,) = pipe([dataclasses.replace(s, image=s.image.copy(), stamp=7) for s in sources], targets)
    assert len(prepared) == 1
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.depth, again.depth)
    assert again.source_stamps == (7, 7)
    pipe.forget()
    pipe(sources, targets)
    assert len(prepared) == 2


@pytest.mark.parametrize("preset", ["exact", "fast"])
def test_the_depth_of_the_sources_costs_nothing_after_a_request(pipe, request_, monkeypatch, preset):
    sources, targets = request_
    pipe.forget()
    assert pipe.just_observed(sources) == []
    pipe(sources, targets, preset=preset)
    monkeypatch.setattr(pipe.generator, "encode", lambda *args: pytest.fail("prepared again"))
    observed = [pipe.just_observed(sources)]
    if preset == "exact":
        observed.append(pipe.observed_depth(sources))
    for found in observed:
        assert [o.stamp for o in found] == [s.stamp for s in sources]
        assert all((o.depth > 0).all() and o.depth.shape == o.image.shape[:2] for o in found)


def test_a_change_in_place_is_noticed(request_):
    sources, _ = request_
    before = fingerprint(sources)
    sources[1].image[0, 0, 0] ^= 1
    assert fingerprint(sources) != before


@pytest.mark.parametrize("change", ["pose", "intrinsics", "depth", "order", "one less"])
def test_whatever_decides_the_result_is_in_the_fingerprint(request_, change):
    sources, _ = request_
    other = list(sources)
    camera = sources[0].camera
    if change == "pose":
        pose = camera.c2w.copy()
        pose[0, 3] += 1e-9
        other[0] = dataclasses.replace(sources[0], camera=camera.moved(pose))
    elif change == "intrinsics":
        other[0] = dataclasses.replace(sources[0], camera=dataclasses.replace(camera, K=camera.K * [[1.01], [1], [1]]))
    elif change == "depth":
        other[0] = dataclasses.replace(sources[0], depth=np.ones((48, 64), np.float32))
    elif change == "order":
        other.reverse()
    else:
        other.pop()
    assert fingerprint(other) != fingerprint(sources)


def test_the_longest_unused_are_dropped_first():
    recent, made = Recent(capacity=2), []

    def get(side):
        return recent.get((b"", side), lambda: made.append(side) or side)

    for side in (8, 16, 8, 24, 8, 16):
        assert get(side) == side
    assert made == [8, 16, 24, 16] and len(recent) == 2
    assert (b"", 16) in recent and (b"", 24) not in recent and recent.newest(b"") == 16


def test_what_failed_is_not_kept():
    recent = Recent()

    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        recent.get((b"", 8), fail)
    assert recent.get((b"", 8), lambda: 1) == 1


@pytest.mark.parametrize("setting", [{"size": (96, 96)}, {"preset": "fast"}])
def test_sources_are_encoded_for_each_size_and_number_of_pixels(pipe, request_, setting):
    sources, targets = request_
    pipe.forget()
    pipe(sources, targets)
    pipe(sources, targets, **setting)
    assert len(pipe.generator.recent) == 2


def test_a_joint_model_encodes_the_same_sources_once(tmp_path):
    write_random_model(small_config(), tmp_path, "float32")
    joint = GLDPipeline.from_pretrained(tmp_path, "cpu", "float32")
    sources, targets = wall_request(Shape(2, 1, (42, 56)))
    settings = {"steps": 1, "size": (42, 56), "strict_scale": False}
    encoded = []
    original = joint.generator.diffusion.latents_of
    joint.generator.diffusion.latents_of = lambda images: encoded.append(1) or original(images)
    (first,), (again,) = joint(sources, targets, **settings), joint(sources, targets, **settings)
    assert len(encoded) == 1
    np.testing.assert_array_equal(first.image, again.image)
