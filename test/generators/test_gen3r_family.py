# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Gen3R through the pipeline, by a folder of random weights: clips, scales, options, refusals, kept prompts."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.gen3r_folder import TINY, tiny_gen3r_folder

from gld_ros.cli import main
from gld_ros.errors import Cancelled, InvalidRequest, ModelError, ScaleUnknown
from gld_ros.generators.clip_path import clip_path
from gld_ros.generators.gen3r_family import Gen3R
from gld_ros.generators.gen3r_scale import clip_scale, generated_cameras, model_units
from gld_ros.generators.request import Request
from gld_ros.geometry.cameras import RelativeFrame
from gld_ros.geometry.se3 import invert, look_at
from gld_ros.networks.gen3r.geometry import ClipGeometry
from gld_ros.pipeline import GLDPipeline
from gld_ros.pipeline.pipeline import made_up_views
from gld_ros.weights.text_states import TextStates

pytestmark = pytest.mark.filterwarnings("ignore:.*(contradict|no metres|loaded once|looks away):UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_gen3r_folder(tmp_path_factory.mktemp("gen3r") / "tiny")


@pytest.fixture(scope="module")
def pipe(folder):
    return GLDPipeline.from_pretrained(folder, device="cpu", dtype="float32")


@pytest.fixture
def request_of():
    """(sources with depth images, targets) of 64 x 48."""
    return made_up_views(2, 2, (48, 64))


def without_depth(sources):
    return [replace(source, depth=None) for source in sources]


def test_a_folder_of_diffusers_is_a_gen3r(pipe):
    assert isinstance(pipe.generator, Gen3R) and pipe.name == TINY.name
    assert (pipe.max_sources, pipe.max_views) == (2, TINY.frames)
    assert [preset.steps for preset in pipe.generator.presets.values()] == [50, 20, 8]


@pytest.mark.parametrize("count", [1, 2])
def test_views(pipe, request_of, count):
    """In metres by the depth images; what the square frames do not show is unknown; the same seed gives the same."""
    sources, targets = request_of
    seen = []
    views = pipe(sources[:count], targets, steps=2, callback=seen.append)
    assert [(p.stage, p.step, p.steps) for p in seen] == [
        ("encode", 1, 1),
        ("clip", 1, 2),
        ("clip", 2, 2),
        ("decode", 1, 1),
    ]
    for view, target in zip(views, targets, strict=True):
        assert view.image.shape == (48, 64, 3) and view.camera is target and view.scale.method == "depth"
        known = np.isfinite(view.depth)
        assert known[:, 8:56].all() and not known[:, :8].any() and not known[:, 56:].any()
        assert view.generated[~known].all() and (view.confidence[~known] < 0.01).all()
        assert 0.1 < np.nanmedian(view.depth) < 20
    again = pipe(sources[:count], targets, steps=2)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(views, again, strict=True))
    other = pipe(sources[:count], targets, steps=2, seed=1)
    assert not np.array_equal(other[0].image, views[0].image)


def test_options_count(pipe, request_of):
    sources, targets = request_of
    base = pipe(sources, targets, steps=2)[0].image
    for options in ({"prompt": "a kitchen"}, {"negative_prompt": "dark"}):
        changed = pipe(sources, targets, steps=2, options=options)[0].image
        assert not np.array_equal(changed, base), options
    with pytest.warns(UserWarning, match="trained for 5 frames of 112x112, asked are 9 of 112x112"):
        assert not np.array_equal(pipe(sources, targets, steps=2, options={"frames": 9})[0].image, base)
    assert not np.array_equal(pipe(sources, targets, steps=2, guidance_scale=1.0)[0].image, base)
    with pytest.warns(UserWarning, match="asked are 5 of 224x112"):
        pipe(sources, targets, steps=1, size=(112, 224))


def test_all_frames_given(pipe):
    """One clip for all targets, be they as many as its frames; its cameras are known unless the model chooses."""
    sources, _ = made_up_views(TINY.frames, 1, (64, 64))
    cameras, seen = [source.camera for source in sources], []
    views = pipe(sources, [*cameras, cameras[2]], steps=1, callback=seen.append)
    assert len(views) == 6 and [progress.stage for progress in seen] == ["encode", "clip", "decode"]
    assert not any(view.generated.any() for view in views) and np.array_equal(views[5].image, views[2].image)
    turned = [replace(source, camera=source.camera.moved(TURN @ source.camera.c2w)) for source in sources]
    turned[0] = sources[0]
    other = pipe(turned, [turned[2].camera], steps=1, strict_scale=False)[0]
    free = pipe(sources, cameras[:1] * 5, steps=1, options={"free": True})
    assert len({view.image.tobytes() for view in (views[2], other, free[2])}) == 3
    assert len({view.camera.c2w.tobytes() for view in free}) == 5
    with pytest.raises(InvalidRequest, match="no target cameras"):
        pipe(sources, [])


def test_the_model_chooses_the_cameras(pipe, request_of):
    sources, targets = request_of
    views = pipe(without_depth(sources[:1]), targets, steps=2, strict_scale=False, options={"free": True})
    assert [view.camera.width for view in views] == [112, 112] and views[0].scale.method == "unknown"
    assert not np.allclose(views[0].camera.c2w, targets[0].c2w)
    assert np.array_equal(views[0].estimated_c2w, views[0].camera.c2w)  # also where the cameras are given


def test_more_targets_than_a_clip_has_frames(pipe, request_of):
    """Further clips are given the last view before them, which is no source: nothing in it was seen, or has metres."""
    sources, targets = request_of[0][:1], made_up_views(1, 5, (48, 64))[1]
    seen = []
    with pytest.warns(UserWarning, match="no metres"):
        views = pipe(without_depth(sources), targets, steps=1, strict_scale=False, callback=seen.append)
    assert len(views) == 5 and [progress.stage for progress in seen].count("clip") == 2
    assert {view.scale.method for view in views} == {"unknown"}
    last = views[-1].camera
    again = {"steps": 1, "strict_scale": False}
    after, alone = (pipe(sources, [last], earlier=before, **again)[0] for before in (views[-1:], []))
    assert not np.array_equal(after.image, alone.image)
    assert after.generated.mean() > 0.5 * alone.generated.mean()
    asked = pipe(sources, targets, steps=1, options={"frames": "9"}, callback=(one := []).append)
    assert len(asked) == 5 and [progress.stage for progress in one].count("clip") == 1


def test_samples_of_wide_views(pipe, request_of):
    """The margins, whose depth no sample knows, have a confidence all the same."""
    (view,) = pipe(request_of[0], request_of[1][:1], steps=1, samples=2)
    assert view.samples == 2 and np.isfinite(view.confidence).all() and (view.confidence[:, :8] < 0.01).all()


def test_no_metres(pipe, request_of):
    sources, targets = without_depth(request_of[0])[:1], request_of[1]
    with pytest.raises(ScaleUnknown, match="1 sources without depth images.*strict_scale=False"):
        pipe(sources, targets, steps=1)
    with pytest.warns(UserWarning, match="the lengths of the clip are no metres"):
        assert pipe(sources, targets, steps=1, strict_scale=False)[0].scale.method == "unknown"


def test_random_weights_contradict_the_poses(pipe, request_of):
    with pytest.raises(ScaleUnknown, match="contradict the poses"):
        pipe(without_depth(request_of[0]), request_of[1], steps=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"frames": 6}}, "a clip of 6 frames, expected 4 n"),
        ({"options": {"promt": "x"}}, "options of 'gen3r-tiny': unknown setting promt"),
        ({"options": {"frames": "many", "prompt": 5}}, "prompt is 5, expected a valid string; frames is 'many', exp"),
        ({"options": {"prompt": "word " * 40}}, "a prompt of .* tokens, expected at most 64"),
        ({"options": {"negative_prompt": "word " * 40}}, "a prompt of .* tokens, expected at most 64"),
        ({"size": (112, 120)}, "must be multiples of 112"),
        ({"observed_pixels": True}, "generates every pixel: observed_pixels cannot be had"),
    ],
)
def test_refused_before_anything_is_computed(pipe, request_of, change, message, monkeypatch):
    monkeypatch.setattr(pipe.generator.method, "encode", None)
    with pytest.raises(InvalidRequest, match=message):
        pipe(*request_of, **change)


def test_sources_that_do_not_go_together(pipe, request_of):
    sources, targets = request_of
    wide = made_up_views(1, 1, (48, 96))[0][0]
    with pytest.raises(InvalidRequest, match="sources of 64x48, 96x48 pixels: images of one aspect"):
        pipe([sources[0], wide], targets)
    with pytest.raises(InvalidRequest, match="3 source views, expected 1, 2 or, for all frames of the clip, 5"):
        pipe(made_up_views(3, 1, (48, 64))[0], targets)
    with pytest.raises(InvalidRequest, match="has no option prompt"):
        GLDPipeline.from_pretrained("mini")(sources, targets, options={"prompt": "x"})


def test_cancelled_between_steps(pipe, request_of):
    steps = []

    def stop(progress):
        steps.append(progress.stage)
        if steps.count("clip") == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        pipe(*request_of, steps=5, callback=stop)
    assert steps == ["encode", "clip", "clip"]


def test_prompts_are_kept_in_the_folder(folder, tmp_path):
    """The encoder works once a prompt; with the states a folder needs none."""
    own = shutil.copytree(folder, tmp_path / "own")
    shutil.rmtree(own / "text_states", ignore_errors=True)
    with pytest.warns(UserWarning, match="the text encoder is loaded once, for the prompt 'a room'"):
        states = TextStates(own)("a room")
    assert states.shape[1] == TINY.text.width and torch.equal(TextStates(own)("a room"), states)
    assert main(["models", "verify", str(own)]) == 0
    shutil.rmtree(own / "text_encoder")
    assert torch.equal(TextStates(own)("a room"), states)
    with pytest.raises(
        ModelError, match="the states of the prompt 'a hall' are not kept, and there is no text encoder"
    ):
        TextStates(own)("a hall")


TURN = np.array([[0.8, 0, 0.6, 0], [0, 1, 0, 0], [-0.6, 0, 0.8, 0], [0, 0, 0, 1]])
EYE = np.array([0.05, -0.1, 0.1])


def perfect(cameras, metres, size=(16, 16)):
    """A clip whose cameras are right but for their scale, of a wall 2 m before the first one."""
    frames = len(cameras)
    c2w = torch.tensor(np.stack([invert(cameras[0].c2w) @ camera.c2w for camera in cameras]))
    c2w[:, :3, 3] /= metres
    depth = torch.full((1, frames, *size), 2.0 / metres)
    K = torch.tensor(np.stack([camera.K for camera in cameras])).float()[None]
    return ClipGeometry(
        depth, 1 + depth, torch.zeros(1, frames, *size, 3), depth, torch.linalg.inv(c2w)[None].float(), K
    )


def test_metres_of_a_perfect_clip(request_of):
    """Found again from the poses; cameras that contradict them are refused; those of a free clip are in the world."""
    sources, _ = made_up_views(2, 1, (16, 16))
    sources, targets = (
        without_depth(sources),
        [sources[0].camera.moved(look_at(EYE, np.array([0.0, 0, 2]), up=(0, -1, 0)))],
    )
    path = clip_path([source.camera for source in sources], targets, 9)
    geometry = perfect(path.cameras, metres=0.25)
    asked = Request(sources, targets, (16, 16), None)
    frame = RelativeFrame(asked.cameras)
    found = clip_scale(asked, geometry, path, frame, 0.01, free=False)
    assert found.method == "poses" and abs(found.value - 0.25) < 1e-3 and found.residual < 0.2
    assert abs(model_units(sources, perfect([path.cameras[0], path.cameras[-1]], 0.25), 0.01) - 0.25) < 1e-6
    free = generated_cameras(geometry, found, sources[0].camera)
    np.testing.assert_allclose([camera.c2w for camera in free], path.c2w, atol=1e-3)
    geometry.w2c[:, 1:5, :3, 3] *= -7
    with pytest.raises(ScaleUnknown, match="contradict the poses"):
        clip_scale(asked, geometry, path, frame, 0.01, free=False)
