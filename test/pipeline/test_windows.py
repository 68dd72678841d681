# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Windows of a path: which poses, which earlier views; and that views of later windows show the same world."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from builders.models import tiny

from gld_ros.data.rooms import TEST_SEED
from gld_ros.errors import InvalidRequest, NoContext, RequestTimeout
from gld_ros.evaluation.away_metrics import agreement
from gld_ros.evaluation.methods import Picture
from gld_ros.evaluation.scenes import path_scene
from gld_ros.generators.gld_family import GLD
from gld_ros.geometry.cameras import Camera
from gld_ros.pipeline import GLDPipeline
from gld_ros.pipeline.windows import OVERLAP, next_window, with_sources
from gld_ros.views import Scale, SourceView, View

K = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])


def camera(x, turned=0.0):
    """At x metres, turned about the vertical by so many radians."""
    c2w = np.eye(4)
    c2w[:3, :3] = [[np.cos(turned), 0, np.sin(turned)], [0, 1, 0], [-np.sin(turned), 0, np.cos(turned)]]
    c2w[0, 3] = x
    return Camera(K, c2w, 64, 48)


def view(place):
    flat = np.ones((48, 64), np.float32)
    return View(place, np.zeros((48, 64, 3), np.uint8), flat, flat, flat > 0, Scale(1.0, "stereo", 0.0), "model", 0)


SOURCES = [SourceView(np.zeros((48, 64, 3), np.uint8), camera(x)) for x in (0.0, 0.2)]


def windows(targets, max_views):
    """(number of targets, earlier views) of all windows."""
    made, found = [], []
    while len(made) < len(targets):
        window = next_window(made, targets[len(made) :], max_views, with_sources(SOURCES))
        assert window.sources is SOURCES
        assert list(window.targets) == targets[len(made) : len(made) + len(window.targets)]
        found.append((len(window.targets), [k for k, one in enumerate(made) if any(one is e for e in window.earlier)]))
        made += map(view, window.targets)
    return found


def test_poses_in_their_order_as_many_as_fit_beside_sources_and_earlier_views():
    along = [camera(0.1 * k) for k in range(16)]
    (first, nothing), (second, earlier) = windows(along, 12)
    assert (first, second, nothing) == (10, 6, []) and len(earlier) == OVERLAP and 9 in earlier
    assert windows(along[:10], 12) == [(10, [])]
    assert windows(along[:1], 12) == [(1, [])]
    assert windows(along, 0) == [(16, [])]
    assert [count for count, _ in windows(along, 5)] == [3] + 13 * [1]


def test_a_path_that_comes_back_is_given_what_it_made_there():
    there = [camera(0.0), camera(0.1), camera(0.0, 1.0), camera(0.0, 2.0), camera(0.0, 3.0), camera(0.02, 0.02)]
    found = windows(there, 5)
    assert found[0] == (3, []) and 0 in found[-1][1] and 4 not in found[-1][1]


def test_a_place_that_no_earlier_view_shows_is_given_none():
    assert windows([camera(0.0), camera(0.1), camera(0.2), camera(0.0, np.pi)], 5) == [(3, []), (1, [])]


def test_hardly_any_room_for_earlier_views():
    assert windows([camera(0.0), camera(0.1), camera(0.2)], 3) == [(1, []), (1, []), (1, [])]


# Real models


def limited(pipe, max_views):
    """A model that makes fewer views together."""
    pipe.generator.net.config = replace(pipe.generator.net.config, max_views=max_views)
    return pipe


@pytest.fixture(scope="module")
def mini():
    return partial(limited(GLDPipeline.from_pretrained("mini", device="cpu"), 5), steps=1)


@pytest.fixture(scope="module")
def path():
    """Four neighbouring views of which the sources show but a part; mini, limited, makes three and then one."""
    scene = path_scene(TEST_SEED + 1, 8)
    cameras = [camera.resized(96, 72) for camera in scene.scene.cameras[4:]]
    return scene.scene.sources, cameras, scene.unobserved[4:, ::2, ::2]


@pytest.fixture(scope="module")
def made(mini, path):
    return mini(*path[:2])


def agree(views, path):
    """Agreement of the last view with the one before it."""
    pictures = [Picture(view.image, view.depth) for view in views[-2:]]
    return agreement(pictures, path[1][-2:], path[2][-2:])


def test_a_later_window_shows_what_earlier_ones_generated(mini, path, made):
    sources, cameras, _ = path
    (alone,) = mini(sources, cameras[3:])
    together, apart = agree(made, path), agree([*made[:3], alone], path)
    assert together["agreement_within"] > 0.85 > apart["agreement_within"]
    assert together["agreement_psnr_db"] > apart["agreement_psnr_db"] + 5
    (given,) = mini(sources, cameras[3:], earlier=[made[0], made[2]])  # the same by hand
    assert np.array_equal(given.image, made[3].image) and np.array_equal(given.depth, made[3].depth)


def test_the_network_is_conditioned_on_what_earlier_windows_generated(mini, path, made):
    sources, cameras, _ = path
    conditions = []
    hook = mini.func.generator.net.level1.register_forward_pre_hook(lambda _, args: conditions.append(args[1]))
    for earlier in ([], made[1:3]):
        mini(sources, cameras[3:], earlier=earlier, guidance_scale=1.0)
    hook.remove()
    alone, given = conditions
    assert torch.equal(alone[:, :2], given[:, :2]) and not torch.equal(alone[:, 2], given[:, 2])


def test_what_was_generated_never_becomes_observed(mini, path, made):
    sources, cameras, _ = path
    (alone,) = mini(sources, cameras[3:])
    last = made[3]
    assert np.array_equal(last.generated, alone.generated) and 0.1 < last.generated.mean() < 0.9
    assert np.array_equal(last.depth[~last.generated], alone.depth[~last.generated])
    assert last.source_stamps == tuple(source.stamp for source in sources)
    assert (last.scale, last.novelty) == (alone.scale, alone.novelty)


def test_what_other_sources_saw_is_taken_over_too(mini, path, made):
    """The sources of an earlier window may have been others: then it is new to this one, and counts as generated."""
    observed = [replace(view, generated=np.zeros_like(view.generated)) for view in (made[0], made[2])]
    (last,) = mini(path[0], path[1][3:], earlier=observed)
    assert np.array_equal(last.image, made[3].image) and np.array_equal(last.generated, made[3].generated)


@pytest.mark.filterwarnings("ignore:target 0 looks away")
def test_a_place_that_no_source_shows_is_refused_whatever_was_generated_there(mini, path, made):
    sources, cameras, _ = path
    turned = cameras[3].c2w @ np.diag([-1.0, 1, -1, 1])
    there = replace(made[3], camera=made[3].camera.moved(turned), generated=np.ones_like(made[3].generated))
    with pytest.raises(NoContext, match="target 0: nothing that the sources see"):
        mini(sources, [cameras[3].moved(turned)], earlier=[there])


def test_samples_are_worlds_of_their_own_and_come_again(mini, path, made):
    several, again = (mini(*path[:2], samples=2) for _ in range(2))
    other = mini(*path[:2], seed=1)
    for k, view in enumerate(several):
        assert np.array_equal(view.image, again[k].image) and np.array_equal(view.spread, again[k].spread)
        assert np.array_equal(view.image, made[k].image) and view.samples == 2
        assert np.array_equal(view.drawn[1].image, other[k].image)
    (last,) = mini(
        path[0], path[1][3:], earlier=[several[0], several[2]], samples=2
    )  # as the node asks, window by window
    assert np.array_equal(last.drawn[1].image, other[3].image)


def test_progress_is_that_of_the_whole_path(mini, path):
    fractions = []
    mini(*path[:2], samples=2, callback=lambda progress: fractions.append(progress.fraction))
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)
    assert len(set(fractions)) == len(fractions) == 2 * 2 * 4  # of samples, windows, steps


def test_out_of_time_what_is_finished_comes_back(mini, path, monkeypatch):
    calls = []

    def generate(request, report):
        calls.append(len(request.targets))
        if len(calls) == 2:
            raise RequestTimeout("too late")
        return real(request, report)

    real = mini.func.generator.generate
    monkeypatch.setattr(mini.func.generator, "generate", generate)
    assert len(mini(*path[:2])) == 3 and calls == [3, 1]
    calls[:] = [0]
    with pytest.raises(RequestTimeout, match="too late"):
        mini(*path[:2])


@pytest.mark.filterwarnings("ignore:the generated views contradict")
@pytest.mark.parametrize("family", ["da3", "vggt"])
def test_released_models_see_earlier_views_beside_the_sources(family, path):
    """Of sources 2, earlier views 2 and targets: 2 + 3, then 2 + 2 + 1."""
    pipe, (sources, cameras, _), seen = limited(GLDPipeline(GLD(tiny(family))), 5), path, []
    pipe.generator.net.level1.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    views = pipe(sources, cameras, strict_scale=False, guidance_scale=1.0)
    assert seen == [5, 5, 5, 5] and len(views) == 4
    (alone,) = pipe(sources, cameras[3:], strict_scale=False, guidance_scale=1.0)
    assert not np.array_equal(views[3].image, alone.image)
    assert np.array_equal(views[3].generated, alone.generated) or views[3].scale != alone.scale
    assert views[3].scale.method == views[0].scale.method != "depth"
    assert views[3].source_stamps == tuple(source.stamp for source in sources)


def test_views_that_the_pipeline_did_not_make_are_no_earlier_views(mini, path):
    with pytest.raises(InvalidRequest, match="earlier view 0 has no spread"):
        mini(path[0], path[1], earlier=[view(path[1][0])])
    with pytest.raises(InvalidRequest, match="2 sources, 3 earlier views and 1 targets"):
        mini(path[0], path[1], earlier=[view(path[1][0])] * 3)
