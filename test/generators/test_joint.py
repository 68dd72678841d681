# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Joint synthesis as released, on a tiny model with random weights: properties, requests, offload."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.models import shaken, tiny, views

from gld_ros.errors import InvalidRequest, ModelError, OutOfMemory, ScaleUnknown
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.gld_setup import working_size
from gld_ros.generators.request import Loading
from gld_ros.generators.scale import consistent_scale, joint_scale
from gld_ros.geometry.cameras import Camera, RelativeFrame
from gld_ros.geometry.se3 import look_at
from gld_ros.networks.dpt import Geometry
from gld_ros.networks.gld import GLDNetworks
from gld_ros.networks.prope import camera_tables, transform
from gld_ros.networks.released import GLD_DA3
from gld_ros.pipeline import GLDPipeline, SourceView
from gld_ros.pipeline import pipeline as pipeline_module
from gld_ros.views import Scale
from gld_ros.weights import memory


@pytest.fixture(scope="module", params=["da3", "vggt"])
def pipe(request):
    return GLDPipeline(GLD(tiny(request.param)))


@pytest.fixture(scope="module")
def da3():
    return GLDPipeline(GLD(tiny("da3")))


@pytest.fixture
def tensors(pipe):
    """Three sources and three targets around a point, with noise."""
    torch.manual_seed(1)
    eyes = [(math.cos(a), math.sin(a), 0.3 * a) for a in (0.0, 0.3, 0.6, 0.2, 0.45, 0.8)]
    c2w = torch.tensor(np.stack([look_at(np.array(eye) * 2, np.zeros(3)) for eye in eyes]), dtype=torch.float32)[None]
    K = torch.tensor([[50.0, 0, 28], [0, 52, 21], [0, 0, 1]]).expand(1, 6, 3, 3).clone()
    K[:, :, 0, 0] += torch.arange(6.0)
    images = torch.rand(1, 3, 3, 42, 56)
    C, S = pipe.generator.net.config.encoder.channels, pipe.generator.net.config.level1.special_tokens
    shape = (1, 6, C, S + 12, 1) if S else (1, 6, C, 3, 4)
    return {"images": images, "K": K, "c2w": c2w, "noise": (torch.randn(shape), torch.randn(shape))}


def reordered(tensors: dict, order: list[int]) -> dict:
    """The same request with its views in another order."""
    return {
        "images": tensors["images"][:, order[:3]],
        "K": tensors["K"][:, order],
        "c2w": tensors["c2w"][:, order],
        "noise": tuple(n[:, order] for n in tensors["noise"]),
    }


@pytest.mark.parametrize("order", [[0, 1, 2, 4, 3, 5], [0, 2, 1, 3, 4, 5]], ids=["targets", "sources"])
def test_the_order_of_views_has_no_say(pipe, tensors, order):
    straight, other = (pipe.generator.generate_tensors(**x) for x in (tensors, reordered(tensors, order)))
    scale = straight.image.abs().max()
    assert torch.allclose(other.image, straight.image[:, order], atol=2e-4 * scale)
    assert torch.allclose(other.geometry.depth, straight.geometry.depth[:, order], rtol=2e-3)
    # First source and last target are special: with them in other places the pictures change.
    last = pipe.generator.generate_tensors(**reordered(tensors, [0, 1, 2, 5, 4, 3]))
    assert not torch.allclose(last.image, straight.image[:, [0, 1, 2, 5, 4, 3]], atol=1e-3 * scale)


def test_guidance_of_one_is_the_conditional_branch_alone(da3, pipe, tensors):
    calls = []  # the cameras' tokens
    hook = pipe.generator.net.level1.register_forward_pre_hook(lambda _, args: calls.append(args[3]))
    one, two = (pipe.generator.generate_tensors(**tensors, guidance_scale=g) for g in (1.0, 2.0))
    hook.remove()
    assert len(calls) == 2 + 4  # two steps, then two with both branches
    conditional = calls[0]
    assert [torch.equal(c, conditional) for c in calls] == [True, True, False, True, False, True]
    assert not torch.allclose(one.image, two.image, atol=1e-3)


def test_one_source_and_one_target(pipe, tensors):
    pair = tensors["images"][:, :1], tensors["K"][:, [0, 3]], tensors["c2w"][:, [0, 3]]
    made, again, other = (pipe.generator.generate_tensors(*pair, seed=seed).image for seed in (3, 3, 4))
    assert made.shape == (1, 2, 3, 42, 56)
    assert torch.equal(made, again) and not torch.equal(made, other)


def test_without_channels_for_level_1_level_0_does_not_depend_on_level_1(da3):
    net = da3.generator.net
    config = replace(net.config, level0=replace(net.config.level0, level1_channels=0))
    pipe = GLDPipeline(GLD(shaken(GLDNetworks(config))))
    K, c2w = torch.eye(3).expand(1, 2, 3, 3) * 40, torch.eye(4).repeat(1, 2, 1, 1)
    c2w[:, 1, 0, 3] = 0.1
    K = K + torch.tensor([[0, 0, 21.0], [0, 0, 21.0], [0, 0, -39]])
    noise = torch.randn(3, 1, 2, 64, 3, 3)
    image = torch.rand(1, 1, 3, 42, 42)
    a, b = (pipe.generator.generate_tensors(image, K, c2w, noise=(noise[k], noise[2])) for k in (0, 1))
    assert torch.equal(a.level0, b.level0)
    assert not torch.equal(a.level1, b.level1)


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_views_come_at_the_size_of_their_cameras(pipe):
    sources, targets = views()
    (view,) = pipe(sources, targets, strict_scale=False, size=(42, 56))
    assert view.image.shape == (60, 80, 3)
    assert view.depth.shape == view.generated.shape == view.confidence.shape == (60, 80)
    assert np.isfinite(view.depth).all() and view.depth.min() > 0
    assert view.model in ("gld-da3", "gld-vggt")
    assert 0 <= view.confidence.min() <= view.confidence.max() <= 1


def wall(centres: list[float], factor: float) -> Geometry:
    """What a head would say of a wall at depth 2 in views at `centres` along x, everything divided by `factor`."""
    depth = torch.full((1, len(centres), 42, 56), 2.0 / factor)
    rays = torch.zeros(1, len(centres), 24, 32, 6)
    rays[..., 3] = torch.tensor(centres)[:, None, None] / factor
    return Geometry(depth, torch.ones_like(depth), rays, torch.ones(rays.shape[:-1]))


SOURCES = views()[0]
FRAME = RelativeFrame([source.camera for source in SOURCES])


def along_x(xs: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """K and c2w of cameras side by side."""
    c2w = torch.eye(4).repeat(1, len(xs), 1, 1)
    c2w[0, :, 0, 3] = torch.tensor(xs)
    return torch.tensor([[50.0, 0, 28], [0, 50, 21], [0, 0, 1]]).expand(1, len(xs), 3, 3), c2w


def scale(xs: list[float], generated: list[float], min_baseline: float = 0.01, strict: bool = True) -> Scale:
    """The scale of cameras side by side whose generated views show a wall from other places."""
    return joint_scale(SOURCES, wall(generated, 7.0), *along_x(xs), FRAME, min_baseline, strict)


def test_scale_from_the_generated_cameras_and_its_contradictions():
    xs, wrong = [0.0, 0.4, 0.1], [0.0, 0.4, 2.0]
    found = scale(xs, xs)
    assert found.method == "poses" and found.residual < 1e-3
    assert found.value == pytest.approx(7 * FRAME.unit, rel=1e-3)
    with pytest.raises(ScaleUnknown, match="contradict the poses.*is the model trained"):
        scale(xs, wrong)
    with pytest.warns(UserWarning, match="contradict the poses"):
        scale(xs, wrong, strict=False)
    with pytest.raises(ScaleUnknown, match="cameras at least 5 m apart"):
        scale(xs, wrong, 5.0, False)


def test_views_that_turn_at_one_place_say_nothing_of_the_scale():
    xs = [0.0, 0.4, 0.4, 0.4, 0.4, 0.4]  # all but the first of one place, as for a look around
    noise = 1e-3 * torch.tensor([0.1, -0.4, 0.9, 0.2, -0.7, 0.3])  # of the generated rays
    found = scale(xs, (torch.tensor(xs) + noise).tolist())
    assert found.value == pytest.approx(7 * FRAME.unit, rel=0.01) and found.residual < 0.05


def test_views_that_do_not_overlap_say_nothing_of_the_scale():
    xs = [0.0, 1.5, 3.0]  # neighbours share a third of the wall, the first and the last nothing
    assert scale(xs, xs).residual < 1e-3
    slanted = wall(xs, 7.0).depth  # a wall says nothing by parallax: this one leans, in the world's frame
    u = (torch.arange(56) + 0.5 - 28) / 50
    for v, x in enumerate(xs):
        slanted[0, v] = (2 + 0.5 * x) / (1 - 0.5 * u) / 7
    value, residual = consistent_scale(slanted, *along_x(xs))
    assert value == pytest.approx(7, rel=0.05) and residual < 0.02


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_a_depth_sensor_sets_the_scale(da3):
    sources, targets = views()
    depth = np.full((60, 80), 2.0, dtype=np.float32)
    (near,) = da3([replace(s, depth=depth) for s in sources], targets, strict_scale=False)
    (far,) = da3([replace(s, depth=5 * depth) for s in sources], targets, strict_scale=False)
    assert near.scale.method == "depth"
    assert np.median(far.depth / near.depth) == pytest.approx(5, rel=1e-3)
    assert np.array_equal(near.image, far.image)


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_observed_pixels_can_be_taken_from_the_sources(da3):
    sources, targets = views()
    depth = np.full((60, 80), 3.0, dtype=np.float32)
    sources = [replace(s, depth=depth) for s in sources]
    (plain,) = da3(sources, targets, strict_scale=False)
    (same,) = da3(sources, targets, strict_scale=False, observed_pixels=False)
    (pasted,) = da3(sources, targets, strict_scale=False, observed_pixels=True)
    assert np.array_equal(plain.image, same.image)
    seen = ~pasted.generated
    assert 0.1 < seen.mean() and (pasted.image[seen] != plain.image[seen]).any()
    (again,) = da3(sources, [sources[0].camera], strict_scale=False, observed_pixels=True)
    error = np.abs(again.image.astype(int) - sources[0].image)[~again.generated]
    assert np.median(error) <= 3  # a source's own view is that source


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_progress_reaches_the_end(da3):
    sources, targets = views()
    seen = []
    da3(sources, targets, strict_scale=False, callback=seen.append)
    assert [p.stage for p in seen] == ["encode", "level1", "level1", "level0", "level0", "decode"]
    assert seen[-1].fraction == pytest.approx(1)
    assert seen[-1].preview.shape == (42, 56, 3)


def test_bad_requests_are_named(da3):
    sources, targets = views()
    with pytest.raises(InvalidRequest, match="size 100x56: .* multiples of 14"):
        da3(sources, targets, size=(56, 100))
    with pytest.raises(InvalidRequest, match="0 source views"):
        da3([], targets)
    with pytest.raises(InvalidRequest, match="2 sources and 7 targets: 'gld-da3' makes at most 8 views"):
        da3.warm_up(2, 7)
    left = targets[0].c2w.copy()
    left[:3, 0] *= -1
    with pytest.raises(InvalidRequest, match="target 0: left-handed"):
        da3(sources, [targets[0].moved(left)])


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_poses_the_wrong_way_round_are_warned_of(da3):
    eyes = [np.array([x, -3.0, 0.0]) for x in (-0.5, 0.5, 0.0)]
    K = np.array([[70.0, 0, 40], [0, 70, 30], [0, 0, 1]])
    cameras = [Camera(K, look_at(eye, np.array([0, 3.0, 0])), 80, 60) for eye in eyes]
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    away = cameras[2].moved(look_at(eyes[2], np.array([0, -9.0, 0])))
    sources = [SourceView(image, c) for c in cameras[:2]]
    with pytest.warns(UserWarning, match="target 0 looks away from all sources"):
        da3(sources, [away], strict_scale=False)


@pytest.mark.filterwarnings("ignore:the generated views contradict")
def test_one_pose_given_as_w2c_is_warned_of(da3):
    sources, targets = views()
    swapped = replace(sources[0], camera=sources[0].camera.moved(sources[0].camera.w2c))
    with pytest.warns(UserWarning, match="source 0 looks away from all other cameras.*is this w2c"):
        da3([swapped, sources[1]], targets, strict_scale=False)
    with pytest.warns(UserWarning, match="target 0 looks away from all sources.*is this w2c"):
        da3(sources, [targets[0].moved(targets[0].w2c)], strict_scale=False)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("images", lambda x: x[..., :55], "size 55x42: .* multiples of 14"),
        ("images", lambda x: x[:, :0], "0 source views"),
        ("images", lambda x: x[:, :, :2], "images are .*expected"),
        ("K", lambda x: x[:, :2], r"K \(1, 2, 3, 3\).*expected"),
        ("c2w", lambda x: x * torch.tensor([-1.0, 1, 1, 1]), "view 0: left-handed"),
        ("steps", -1, "-1 sampling steps"),
        ("guidance_scale", math.nan, "guidance scale nan"),
    ],
)
def test_tensors_that_make_no_request_are_named(da3, name, change, message):
    c2w = torch.tensor(np.stack([c.c2w for c in (*(s.camera for s in views()[0]), *views()[1])]))[None]
    V = c2w.shape[1]
    K = torch.tensor([[50.0, 0, 28], [0, 50, 21], [0, 0, 1]]).expand(1, V, 3, 3)
    given = {"images": torch.rand(1, V - 1, 3, 42, 56), "K": K, "c2w": c2w}
    given[name] = change(given[name]) if callable(change) else change
    with pytest.raises(InvalidRequest, match=message):
        da3.generator.generate_tensors(**given)


def test_outputs_that_are_not_finite_are_refused():
    pipe = GLDPipeline(GLD(tiny("da3")))
    pipe.generator.net.dpt.scratch.output_conv2[2].bias.data[0] = math.nan
    with pytest.raises(ModelError, match="not finite"):
        pipe(*views(), strict_scale=False)


def test_camera_attention_multiplies_by_exact_matrices():
    torch.manual_seed(0)
    K = torch.tensor([[500.0, 0, 252], [0, 500, 140], [0, 0, 1]]).expand(1, 2, 3, 3)
    w2c = torch.eye(4).repeat(1, 2, 1, 1)
    w2c[..., :3, :3], w2c[..., :3, 3] = torch.linalg.qr(torch.randn(1, 2, 3, 3))[0], torch.randn(1, 2, 3)
    x = torch.randn(1, 2, 2 * 12, 16)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = camera_tables(K, w2c, (280, 504), (3, 4), 16)
        q = transform(x, rounded.project, rounded.cos, rounded.sin)
    tables = camera_tables(K, w2c, (280, 504), (3, 4), 16)
    assert torch.equal(rounded.project, tables.project) and torch.equal(rounded.unproject, tables.unproject)
    assert torch.equal(q, transform(x, tables.project, tables.cos, tables.sin))


def test_offload_keeps_one_component_and_changes_no_number(pipe, tensors):
    expected = pipe.generator.generate_tensors(**tensors)
    pipe = GLDPipeline(
        GLD(tiny("vggt" if pipe.generator.net.config.level1.special_tokens else "da3"), Loading(offload="sequential"))
    )
    residency = pipe.generator.diffusion.residency
    assert residency.resident == set()
    at_work = []
    for name, component in pipe.generator.net.named_children():
        component.register_forward_pre_hook(lambda *_, name=name: at_work.append((name, set(residency.resident))))
    made = pipe.generator.generate_tensors(**tensors)
    assert torch.equal(made.image, expected.image)
    assert {name for name, _ in at_work} == {"encoder", "level1", "level0", "rgb", "dpt"}
    assert all(resident == {name} for name, resident in at_work)
    assert residency.resident == set()
    with pytest.raises(ModelError, match="offload is 'disk'"):
        GLDPipeline(GLD(tiny("da3"), Loading(offload="disk")))


@pytest.mark.parametrize(
    ("camera", "size"),
    [((640, 640), (504, 504)), ((640, 480), (378, 504)), ((600, 400), (336, 504)), ((1280, 720), (280, 504)),
     ((480, 640), (504, 378)), ((2000, 300), (70, 504))],
)  # fmt: skip
def test_images_are_worked_on_at_the_released_sizes(camera, size):
    assert working_size(Camera(np.eye(3), np.eye(4), *camera), GLD_DA3) == size


def test_noise_of_another_shape_and_too_little_memory_are_named(pipe, tensors, monkeypatch):
    wrong = tensors | {"noise": (tensors["noise"][0], tensors["noise"][1][:, :1])}
    with pytest.raises(InvalidRequest, match="noise of level 0 is"):
        pipe.generator.generate_tensors(**wrong)

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\ndetails")

    for forward, reason in (
        (full, "CUDA out of memory. Tried to allocate 2 GiB$"),
        (lambda *_: torch.zeros(2**50), ".*allocate memory"),  # of a CPU, a plain RuntimeError
    ):
        monkeypatch.setattr(pipe.generator.net.rgb, "forward", forward)
        with pytest.raises(OutOfMemory, match=f"3 sources, 3 targets: {reason}"):
            pipe.generator.generate_tensors(**tensors)


def test_what_cannot_fit_is_refused_before_it_is_downloaded(monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("asked for the files")

    monkeypatch.setattr(pipeline_module, "resolve", never)
    monkeypatch.setattr(memory, "available", lambda: 3 * 10**9)
    with pytest.raises(OutOfMemory, match="needs about .* GB of main memory"):
        GLDPipeline.from_pretrained("gld-da3", device="cpu", dtype="float32")


def test_a_dtype_that_is_asked_for_is_computed_in():
    assert GLDPipeline.from_pretrained("mini", "cpu", "float32").generator.dtype == torch.float32
    assert GLDPipeline.from_pretrained("mini", "cpu", "bfloat16").generator.dtype == torch.bfloat16
