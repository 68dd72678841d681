# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""MEt3R-style consistency: DINO features of views compared where they show the same points."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gld_ros.cli import main
from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.evaluation.methods import methods_for, source_depths
from gld_ros.evaluation.protocol import Protocol
from gld_ros.evaluation.scenes import SPLITS, Scene, held_out_scene
from gld_ros.geometry.cameras import Camera
from gld_ros.metrics.consistency import (
    Consistency,
    FeatureView,
    disagreement,
    features,
    read,
    with_nearest_target,
)
from gld_ros.metrics.dino import Dino
from gld_ros.pipeline import GLDPipeline
from gld_ros.views import SourceView

DEPTH, FOCAL, SIZE = 2.0, 80.0, (72, 96)


@pytest.fixture(scope="module", autouse=True)
def shallow():
    """Two blocks in place of twelve."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dino, "DEPTH", 2)
        yield


def published(scale=0.02):
    """Random tensors under the names and in the shapes of `dino_deitsmall8_pretrain.pth`."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"patch_embed.proj.weight": (384, 3, 8, 8), "patch_embed.proj.bias": (384,)}
    shapes |= {"cls_token": (1, 1, 384), "pos_embed": (1, 785, 384)}
    for i in range(Dino.DEPTH):
        layers = {"attn.qkv": (1152, 384), "attn.proj": (384, 384), "mlp.fc1": (1536, 384), "mlp.fc2": (384, 1536)}
        for name, shape in layers.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
    state = {name: scale * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for norm in ("norm", *(f"blocks.{i}.norm{k}" for i in range(Dino.DEPTH) for k in (1, 2))):
        state |= {f"{norm}.weight": torch.ones(384), f"{norm}.bias": torch.zeros(384)}
    return {name: value.half() for name, value in state.items()}  # half the disk


@pytest.fixture(scope="module")
def weights(shallow, tmp_path_factory):
    path = tmp_path_factory.mktemp("dino") / "dino_deitsmall8_pretrain.pth"
    torch.save(published(), path)
    return path


@pytest.fixture(scope="module")
def dino(weights):
    return Dino.from_file(weights)


def texture(seed, width=160):
    """A smooth random picture (72, width, 3) uint8."""
    coarse = torch.rand(1, 3, 10, width // 8, generator=torch.Generator().manual_seed(seed))
    fine = F.interpolate(coarse, size=(SIZE[0], width), mode="bicubic").clamp(0, 1)
    return (fine[0].permute(1, 2, 0) * 255).byte().numpy()


def camera(shift):
    """Looks at a wall DEPTH away, moved to the right by `shift` of its pixels."""
    c2w = np.eye(4)
    c2w[0, 3] = shift * DEPTH / FOCAL
    K = np.array([[FOCAL, 0, SIZE[1] / 2], [0, FOCAL, SIZE[0] / 2], [0, 0, 1]])
    return Camera(K, c2w, SIZE[1], SIZE[0])


def picture(wall, shift):
    """What `camera(shift)` sees of the wall: an exact warp by whole pixels."""
    return wall[:, shift : shift + SIZE[1]]


def view(dino, image, shift):
    return FeatureView(features(dino, image), np.full(SIZE, DEPTH, np.float32), camera(shift))


def scene(wall, shifts, source_shifts=(0, 32)):
    depth = np.full(SIZE, DEPTH, np.float32)
    sources = [SourceView(picture(wall, x), camera(x)) for x in source_shifts]
    targets = [SourceView(picture(wall, x), camera(x), depth=depth) for x in shifts]
    return Scene("wall", "walls", sources, [depth] * len(sources), targets, [str(x) for x in shifts])


def test_a_view_is_consistent_with_itself(dino):
    same = view(dino, picture(texture(0), 0), 0)
    value, share = disagreement(same, same)
    assert abs(value) < 1e-5 and share == 1


def test_exact_warps_are_far_more_consistent_than_other_pictures(dino):
    wall, other = texture(0), texture(1)
    one = view(dino, picture(wall, 0), 0)
    for shift in (8, 16):
        exact, share = disagreement(one, view(dino, picture(wall, shift), shift))
        unrelated, same_share = disagreement(one, view(dino, picture(other, shift), shift))
        wrong_place, _ = disagreement(one, view(dino, picture(wall, 0), shift))
        assert share == same_share == pytest.approx(1 - shift / SIZE[1])
        assert exact < 0.2 * min(unrelated, wrong_place)


def test_features_lie_where_their_patches_do():
    rows, columns = np.mgrid[:9, :12] * 8 + 4.0  # centres of the patches of a 72 x 96 picture
    where = FeatureView(torch.from_numpy(np.stack([columns, rows])).float(), np.full(SIZE, DEPTH), camera(0))
    pixels = np.array([[4.0, 4.0], [20.5, 7.25], [92, 68], [50, 33]])
    assert np.allclose(read(where, pixels).T, pixels, atol=1e-4)


def test_what_is_hidden_or_out_of_the_picture_does_not_count(dino):
    wall = texture(0)
    one, other = view(dino, picture(wall, 0), 0), view(dino, picture(wall, 16), 16)
    painted = picture(wall, 16).copy()
    painted[:, 40:] = 255 - painted[:, 40:]
    near = np.full(SIZE, DEPTH, np.float32)
    near[:, 40:] = 1.0
    hidden, share = disagreement(one, FeatureView(features(dino, painted), near, camera(16)))
    seen, _ = disagreement(one, view(dino, painted, 16))
    assert share == pytest.approx(40 / SIZE[1]) and hidden < 0.3 * seen
    assert disagreement(one, view(dino, picture(wall, 16), 200)) == (None, 0.0)
    unknown = FeatureView(other.features, np.full(SIZE, np.nan, np.float32), other.camera)
    assert disagreement(one, unknown) == disagreement(unknown, one) == (None, 0.0)


def test_every_target_is_compared_with_its_nearest_source_and_target(dino):
    empty = torch.empty(0)
    views = [FeatureView(empty, np.empty(SIZE), camera(x)) for x in (8, 12, 40)]
    assert with_nearest_target(views) == [(views[0], views[1]), (views[1], views[2])]
    assert with_nearest_target(views[:1]) == []
    asked = scene(texture(0), (8, 24))
    judge = Consistency(dino, asked.sources, asked.source_depths)
    real = judge.figures(asked.targets)
    assert set(real) == {"met3r", "met3r_sources", "met3r_targets", "met3r_share"} and real["met3r_share"] > 0.7
    # Both targets of another wall: consistent with each other, not with the sources.
    other = [replace(target, image=picture(texture(1), x)) for x, target in zip((8, 24), asked.targets, strict=True)]
    found = judge.figures(other)
    assert found["met3r_sources"] > 4 * real["met3r_sources"] and found["met3r_targets"] < 0.3 * found["met3r_sources"]
    assert found["met3r_targets"] < found["met3r"] < found["met3r_sources"]
    assert judge.figures([other[0], replace(other[1], depth=None)]) == {}


def test_without_true_depth_the_models_own_is_taken(dino):
    mini = GLDPipeline.from_pretrained("mini", device="cpu")
    room = held_out_scene(SPLITS["val"], True)
    blind = replace(room, source_depths=None, targets=[replace(room.targets[0], depth=None)])
    found = source_depths(mini, blind)
    for depth, true in zip(found, room.source_depths, strict=True):
        assert depth.shape == true.shape and np.median(np.abs(depth / true - 1)) < 0.2
    (result,) = Protocol(mini, methods_for(mini, steps=1)[:2], dino=dino).evaluate([blind]).scenes
    # The model answers with depth, copies and the real views have none.
    assert {method for (method, _), figures in result.rows.items() if "met3r" in figures} == {"model"}


def test_small_pictures_are_enlarged_and_others_keep_their_size(dino):
    assert features(dino, texture(0, 96)).shape == (384, 28, 37)
    assert features(dino, np.zeros((243, 232, 3), np.uint8)).shape == (384, 30, 29)
    with pytest.raises(ValueError, match="multiples of 8"):
        dino(torch.zeros(1, 3, 224, 226))


def test_other_weights_are_named(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "vgg.pth")
    with pytest.raises(InvalidRequest, match=r"vgg.pth: no DINO ViT-S/8 weights; missing \['cls_token'"):
        Dino.from_file(tmp_path / "vgg.pth")
    larger = {**published(0), "patch_embed.proj.weight": torch.zeros(384, 3, 16, 16)}
    torch.save(larger, tmp_path / "vits16.pth")
    with pytest.raises(InvalidRequest, match=r"of another shape \['patch_embed.proj.weight'\]"):
        Dino.from_file(tmp_path / "vits16.pth")
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(ModelError, match="page.pth: not a whole"):
        Dino.from_file(tmp_path / "page.pth")


def test_a_file_of_old_torch_is_read(dino, tmp_path, monkeypatch):
    monkeypatch.setattr(Dino, "DEPTH", 12)
    torch.save(published(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(Dino.from_file(tmp_path / "old.pth").pos_embed, dino.pos_embed)


def test_the_command_reports_it(weights, tmp_path, capsys):
    arguments = ["eval", "mini", "--scenes", "1", "--steps", "1", "--device", "cpu", "--out", str(tmp_path)]
    assert main([*arguments, "--dino", str(weights)]) == 0
    table = capsys.readouterr().out
    assert "MEt3R" in table and "LPIPS" not in table
    report = json.loads((tmp_path / "report.json").read_text())
    figures = {name: method["all"] for name, method in report["methods"].items()}
    assert not any("--dino" in notice for notice in report["notices"])
    for name in ("model", "copy_nearest", "own_depth_warp", "true_depth_warp", "real_views"):
        assert figures[name]["met3r"] == figures[name]["met3r_sources"] and figures[name]["met3r"]["count"] == 1
    assert 0 < figures["real_views"]["met3r"]["mean"] < figures["copy_nearest"]["met3r"]["mean"]
    assert 0.3 < figures["real_views"]["met3r_share"]["mean"] < 1
    assert "met3r" in report["model_minus"]["real_views"]["all"] and "DUSt3R" in report["definitions"]["met3r"]
    page = (tmp_path / "report.html").read_text()
    assert "<th>met3r</th>" in page and "<th>met3r_share</th>" in page
